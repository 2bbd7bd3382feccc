# SPDX-License-Identifier: GPL-2.0
"""What did not run, or was interrupted, is not taken for good."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from harness import (checks, hold, kunit, longresults, machinetests,
                     selftests, settings)
from harness.counts import Counts
from harness.say import LabError

GOOD = [("suite.test_one", "PASS", []),
        ("suite.test_two.with a parameter", "PASS", [])]
SOURCE = "\tKUNIT_CASE(test_one),\n\tKUNIT_CASE_PARAM(test_two, params),\n"


@pytest.fixture(name="folder")
def fixture_folder(tmp_path):
    """A tree with one suite, and the log of a kernel that ran it."""
    (tmp_path / kunit.SUITES).mkdir(parents=True)
    (tmp_path / kunit.SUITES / "suite.c").write_text(SOURCE)
    (tmp_path / "out-kunit").mkdir()
    (tmp_path / "out-kunit/test.log").write_text("ok 1 suite\n")
    return tmp_path


def test_kunit_all_good(folder):
    counts = kunit.judge(GOOD, folder, folder / "out-kunit", 0)
    assert (counts.passed, counts.failed) == (2, 0)


def test_kunit_case_without_a_result(folder, capsys):
    counts = kunit.judge(GOOD[:1], folder, folder / "out-kunit", 0)
    assert (counts.passed, counts.failed) == (1, 1)
    assert "test_two" in capsys.readouterr().out


def test_kunit_status_without_a_failed_case(folder):
    assert kunit.judge(GOOD, folder, folder / "out-kunit", 1).failed == 1
    bad = [*GOOD, ("suite.test_bad", "FAIL", [])]
    assert kunit.judge(bad, folder, folder / "out-kunit", 1).failed == 1


def test_kunit_log_keeps_the_splat_rule(folder, capsys):
    (folder / "out-kunit/test.log").write_text(
        "WARNING: CPU: 0 PID: 1 at drivers/iommu/iommu.c:1 foo+0x1/0x2\n")
    assert kunit.judge(GOOD, folder, folder / "out-kunit", 0).failed == 1
    assert "iommu.c:1" in capsys.readouterr().out


def test_program_that_stops_early_fails():
    machine = SimpleNamespace(run_status=lambda *script: (0, "1..2\nok 1 a\n"),
                              log="the log")
    counts = selftests.run_program(machine, "program")
    assert (counts.passed, counts.failed) == (1, 1)


def test_no_machine_test_is_an_error(monkeypatch):
    monkeypatch.setattr(machinetests.packages, "need", lambda *sets: None)
    monkeypatch.setattr(machinetests.kernels, "build",
                        lambda *args, **more: SimpleNamespace(image=""))
    monkeypatch.setattr(machinetests, "pytest",
                        lambda *args, **more: Counts("machines"))
    with pytest.raises(LabError, match="found no test"):
        machinetests.run()
    assert not machinetests.run("no such name").total


def test_interrupted_exchange_loses_nothing(tmp_path):
    """Between the two renames only the old folder is whole."""
    folder = tmp_path / "kept"
    (tmp_path / "kept.old").mkdir()
    (tmp_path / "kept.old/cover").write_text("text")
    with pytest.raises(RuntimeError), hold.made_whole(folder):
        assert (folder / "cover").read_text() == "text"
        raise RuntimeError
    assert (folder / "cover").read_text() == "text"
    with hold.made_whole(folder) as part:
        (part / "new").write_text("")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert [path.name for path in folder.iterdir()] == ["new"]


def test_maintainers_must_agree(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "ROOT", tmp_path)
    (tmp_path / "MAINTAINERS").write_text("IOMMU\nF:\tone.c\n")
    monkeypatch.setattr(checks.series, "added_lines", lambda *args: {
        "MAINTAINERS": "IOMMU\nF:\tone.c\n\n"})
    assert not checks.maintainers(tmp_path)
    (tmp_path / "MAINTAINERS").write_text("IOMMU\nF:\ttwo.c\n")
    assert "two.c" in "\n".join(checks.maintainers(tmp_path))


def test_ended_from_outside_ends_its_children(tmp_path):
    """SIGTERM to ./lab reaches what the command it runs has started."""
    pid = tmp_path / "pid"
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from harness import cli, say\n"
        "cli.dispatch = lambda argv: say.run_logged(['sh', '-c', "
        f"'sleep 300 & echo $! >{pid}; wait'], {str(tmp_path / 'log')!r}, "
        "'sleeping')\n"
        "sys.exit(cli.main(['x']))\n")
    with subprocess.Popen([sys.executable, "-c", script, settings.ROOT],
                          stderr=subprocess.PIPE, text=True) as lab:
        for _ in range(300):
            if pid.is_file() and pid.read_text().endswith("\n"):
                break
            time.sleep(0.1)
        lab.send_signal(signal.SIGTERM)
        assert lab.wait(30) == 130
        assert "interrupted" in lab.stderr.read()
    sleeper = int(pid.read_text())
    for _ in range(100):
        try:
            os.kill(sleeper, 0)
            with open(f"/proc/{sleeper}/stat", encoding="ascii") as stat:
                if stat.read().split()[2] == "Z":
                    return
        except (ProcessLookupError, FileNotFoundError):
            return
        time.sleep(0.1)
    pytest.fail(f"process {sleeper} goes on")


@pytest.mark.parametrize("expression, none", [
    (None, False), ("named_disk", False), ("named_disk or splats", False),
    ("not splats", False), ("stock reference", True), ("dist builds", True)])
def test_name_of_a_check_selects_no_machine_test(expression, none):
    assert machinetests.names_no_test(expression) == none


def test_long_result_goes_stale(tmp_path, monkeypatch):
    monkeypatch.setattr(longresults, "RECORD", tmp_path / "all.json")
    monkeypatch.setattr(longresults, "state", lambda: "series 1")
    monkeypatch.setattr(longresults.bases, "base",
                        lambda: SimpleNamespace(version="6.12.1-1"))
    monkeypatch.setattr(settings, "BUILD", tmp_path)
    assert len(longresults.stale({"one": None, "two": None})) == 2
    longresults.note("one")
    assert [line.split(":")[0] for line in longresults.stale(
        {"one": None, "two": None})] == ["two"]
    monkeypatch.setattr(longresults, "state", lambda: "series 2")
    assert len(longresults.stale({"one": None})) == 1
    longresults.forget_others(["two"])
    assert longresults.recorded() == {}
    longresults.note("one", "commit 1")
    assert not longresults.stale({"one": "commit 1"})
    assert len(longresults.stale({"one": "commit 2"})) == 1
