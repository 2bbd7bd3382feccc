# SPDX-License-Identifier: GPL-2.0
"""The KASAN kernel: how it is made, and that it finds what it is for."""

from types import SimpleNamespace

import pytest

from harness import kernel as kernels
from harness import longresults, machinespec, machinetests, settings
from harness.counts import Counts

PROVOKE = "/sys/kernel/debug/provoke-crash/DIRECT"
KFENCE_INTERVAL = "/sys/module/kfence/parameters/sample_interval"
LEAKING = "samples/kmemleak/kmemleak-test.ko"


def test_it_is_the_test_kernel_with_more():
    test, kasan = (kernels.fragments(name, "x86_64")
                   for name in ("test", "kasan"))
    assert kasan[:len(test)] == test
    assert [path.name for path in kasan[len(test):]] == ["kasan.config"]


@pytest.mark.parametrize("folder, arch, config", [
    ("out-test", "x86_64", "test"), ("out-kasan", "x86_64", "kasan"),
    ("out-test-arm64", "arm64", "test")])
def test_configuration_of_an_image(tmp_path, folder, arch, config):
    image = tmp_path / folder / kernels.IMAGES[arch]
    assert kernels.given(image, arch).config == config
    other = "arm64" if arch == "x86_64" else "x86_64"
    assert kernels.given(image, other) is None


@pytest.fixture(name="recorded")
def fixture_recorded(monkeypatch):
    """What is recorded, of runs that take no time; it is in no file."""
    seen = []
    monkeypatch.setattr(machinetests, "built", lambda *args: [])
    monkeypatch.setattr(longresults, "note",
                        lambda name, state=None: seen.append(name))
    return seen


def ends_with(monkeypatch, failed):
    """Every run of pytest has one test that passes, and so many that fail."""
    monkeypatch.setattr(machinetests, "pytest", lambda *args, **more: Counts(
        "machines", passed=1, failed=failed))


@pytest.mark.parametrize("expression, failed, noted", [
    (None, 0, True), ("kasan", 0, True), ("kasan and kdump", 0, False),
    ("kasan", 1, False)])
def test_only_a_whole_good_run_is_recorded(monkeypatch, tmp_path, recorded,
                                           expression, failed, noted):
    ends_with(monkeypatch, failed)
    machinetests.run_kasan(["vtd", "smmuv3"], tmp_path, expression)
    assert recorded == [longresults.under_kasan("vtd")] * noted


@pytest.mark.parametrize("expression, failed, noted", [
    (None, 0, True), ("kdump", 0, False), (None, 1, False)])
def test_machine_of_no_default_run_is_recorded(monkeypatch, tmp_path, recorded,
                                               expression, failed, noted):
    ends_with(monkeypatch, failed)
    machinetests.run_plain(["vtd", "smmuv3"], tmp_path, expression)
    assert recorded == [longresults.on_machine("smmuv3")] * noted


def test_machines_depend_on_programs(monkeypatch, tmp_path):
    program = tmp_path / "tools" / "program.c"
    program.parent.mkdir()
    monkeypatch.setattr(settings, "ROOT", tmp_path)
    monkeypatch.setattr(settings, "new_files", lambda: ["tools/program.c"])
    states = []
    for text in ("one", "two"):
        program.write_text(text)
        states.append([longresults.state(programs) for programs in (False,
                                                                    True)])
    assert states[0][0] == states[1][0]
    assert states[0][1] != states[1][1]


@pytest.mark.parametrize("expression, everything, on_test, on_kasan", [
    (None, True, True, True), (None, False, True, False),
    ("kasan", True, False, True), ("kasan and kdump", True, False, True),
    ("kdump", True, True, False), ("not kasan", True, True, False),
    ("kasan", False, True, False)])
def test_which_kernels_run(monkeypatch, recorded, capsys, expression,
                           everything, on_test, on_kasan):
    ran = []
    one = Counts("machines", passed=1)
    monkeypatch.setattr(machinetests, "pytest", lambda *args, **more: (
        ran.append("test") or one))
    monkeypatch.setattr(machinetests, "run_kasan", lambda *args: (
        ran.append("kasan") or one))
    monkeypatch.setattr(machinetests, "check_reference", lambda *args: one)
    machinetests.run(expression, everything)
    assert bool(recorded) == (everything and not expression)
    assert ("left to --all: virtio, " in capsys.readouterr().out) \
        != everything
    assert ran == ["test"] * on_test + ["kasan"] * on_kasan


def test_it_gets_more_memory():
    kernel = SimpleNamespace(config="kasan")
    memory = kernels.Kernel.memory.fget(kernel)
    words = machinespec.spec().qemu_options([], None, memory)
    assert words[words.index("-m") + 1] == f"{memory}M" == "1024M"


@pytest.mark.config("kasan")
def test_use_after_free_is_found(plain):
    # KFENCE takes one allocation in many, and could have taken this one.
    plain.run(f"echo 0 >{KFENCE_INTERVAL}")
    plain.run(f"echo READ_AFTER_FREE >{PROVOKE}")
    plain.run(f"echo 100 >{KFENCE_INTERVAL}")
    found = plain.findings()
    assert "KASAN: slab-use-after-free in lkdtm" in "\n".join(found)


@pytest.mark.config("kasan")
def test_leak_is_found(boot, kernel):
    with boot("leak", programs=[kernel.build / LEAKING]) as machine:
        assert not machine.leaks()
        machine.run("insmod /lab/kmemleak-test.ko")
        assert "kmemleak_test_init" in machine.leaks()
        assert "suspected memory leaks" in "\n".join(machine.findings())
        machine.run("echo clear >/sys/kernel/debug/kmemleak")
