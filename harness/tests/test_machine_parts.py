# SPDX-License-Identifier: GPL-2.0
"""The parts around a machine, without a kernel where that is possible."""

import shlex
import subprocess
from types import SimpleNamespace

import pytest

from harness import (emulator, hardware, iommufd, machinespec, machinetests,
                     selftests, shell, splats)
from harness import kernel as kernels
from harness.machine import SLOT_OFF, SLOT_ON, SLOT_SCRIPT
from harness.say import LabError

REPORT = """<testsuites><testsuite>
<testcase classname="a" name="good"/>
<testcase classname="a" name="bad"><failure message="m">text</failure>
</testcase>
<testcase classname="a" name="splat"/>
<testcase classname="a" name="splat"><error message="m">a splat</error>
</testcase>
<testcase classname="a" name="not"><skipped message="m"/></testcase>
</testsuite></testsuites>"""

TAP = """TAP version 13
1..3
# Starting 3 tests from 1 test cases.
ok 1 global.type_is_a_word
not ok 2 global.nonsense
ok 3 global.busy # SKIP no such group
# Totals: pass:1 fail:1 xfail:0 xpass:0 skip:1 error:0
"""


def test_unknown_machine_is_named():
    with pytest.raises(LabError, match="no machine is called zz"):
        machinespec.spec("zz")


@pytest.mark.parametrize("said, accelerator", [
    ("QEMU emulator version 7.2.22 (Debian 1:7.2)", "tcg,thread=single"),
    ("QEMU emulator version 8.1.5", "tcg,thread=single"),
    ("QEMU emulator version 8.2.0", "tcg"),
    ("QEMU emulator version 10.0.2 (Debian 1:10.0.2)", "tcg"),
    ("something else", "tcg"), (None, "tcg")])
def test_old_emulator_has_one_thread(said, accelerator):
    assert emulator.accelerator(said) == accelerator


def test_processors_have_the_threads_that_they_can_have(plain):
    accelerator = emulator.accelerator(emulator.version(plain.spec.qemu))
    threads = {each["thread-id"]
               for each in plain.qmp.command("query-cpus-fast")}
    assert len(threads) == (1 if "single" in accelerator else 2)


def test_every_machine_is_complete():
    for spec in machinespec.specs():
        assert spec.title and spec.arch in kernels.IMAGES
        assert "(?P<address>" in spec.fault
        # Somebody reads its tables, or there is a reason why nobody does.
        assert (spec.tables in hardware.READERS) != ("tables" in spec.cannot)
        assert all(spec.cannot.values())


# SMMUv3's registers and two tables, of one and of two levels
LINEAR, TWO_LEVELS = {0x09050088: 4}, {0x09050088: 1 << 16 | 8 << 6 | 16}
BYPASS, STAGE_1, ABORT, INVALID = 0b1001, 0b1011, 0b0001, 0b1010


def with_memory(words):
    """A machine of which only the memory is there."""
    def command(name, **arguments):
        what, size, address = arguments["command-line"].split()
        assert (name, what) == ("human-monitor-command", "xp")
        number, value = int(size[1:-2]), words.get(int(address, 16), 0)
        # As QEMU has it, a read of 64 bits does not see this register.
        if number == 2 and int(address, 16) == 0x09050088:
            value = 0
        shown = [f"0x{value >> 32 * at & 0xffffffff:08x}"
                 for at in range(number)]
        return f"{address}: {' '.join(shown)}\r\n"
    return SimpleNamespace(qmp=SimpleNamespace(command=command))


@pytest.mark.parametrize("words, expected", [
    ({**LINEAR, 0x4000_0000 + 64 * 0x20: BYPASS}, "identity"),
    ({**LINEAR, 0x4000_0000 + 64 * 0x20: STAGE_1}, "translated"),
    ({**LINEAR, 0x4000_0000 + 64 * 0x20: ABORT}, "blocked"),
    ({**LINEAR, 0x4000_0000 + 64 * 0x20: INVALID}, "blocked"),
    ({**TWO_LEVELS, 0x4000_0000: 0x5000_0009,
      0x5000_0000 + 64 * 0x20: BYPASS}, "identity"),
    ({**TWO_LEVELS, 0x4000_0000: 0x5000_0007,
      0x5000_0000 + 64 * 0x20: BYPASS}, "identity"),
    # The second level ends at entry 0x1f, or is not there.
    ({**TWO_LEVELS, 0x4000_0000: 0x5000_0006,
      0x5000_0000 + 64 * 0x20: BYPASS}, "blocked"),
    ({**TWO_LEVELS, 0x4000_0000: 0}, "blocked")])
def test_stream_table_is_read(words, expected):
    words = {0x09050080: 1 << 62 | 0x4000_0000, **words}
    assert hardware.smmuv3(with_memory(words), "00:04.0") == expected


def test_stream_table_has_a_second_level_for_each_bus():
    machine = with_memory({0x09050080: 0x4000_0000, **TWO_LEVELS,
                           0x4000_0008: 0x6000_0009, 0x6000_0000: STAGE_1})
    assert hardware.smmuv3(machine, "01:00.0") == "translated"


@pytest.mark.parametrize("words, expected", [
    ("quiet -m 1G", ("vtd", ["quiet", "-m", "1G"])),
    ("--machine amd quiet", ("amd", ["quiet"])),
    ("-machine x --machine amd", ("amd", ["-machine", "x"]))])
def test_shell_machine(words, expected):
    assert shell.split_machine(words.split()) == expected


def test_addresses_differ():
    addresses = [each.address for each in machinespec.spec().devices]
    assert len(set(addresses)) == len(addresses)


def test_images_differ(tmp_path):
    devices = machinespec.spec().devices
    machinespec.make_images(devices, tmp_path)
    heads = {path.read_bytes()[:16] for path in tmp_path.iterdir()}
    assert len(heads) == sum(1 for each in devices if each.disk_mib) == 2


@pytest.mark.parametrize("words, kernel, options", [
    ("pci=a;b quiet", "pci=a;b quiet", ""),
    ("-m 1G nosmp", "nosmp", "-m 1G"),
    ("-s quiet -device edu,addr=0b.0", "quiet", "-s -device edu,addr=0b.0"),
    ("-device edu -m 1G a=b", "a=b", "-device edu -m 1G"),
])
def test_shell_words(words, kernel, options):
    assert shell.split_words(shlex.split(words.replace(";", "\\;"))) == (
        kernel.split(), options.split())


def test_report_is_counted(tmp_path, capsys):
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    counts = machinetests.count(report)
    assert (counts.passed, counts.failed, counts.skipped) == (1, 2, 1)
    assert "FAILED a::bad" in capsys.readouterr().out


def test_tap_is_counted(capsys):
    counts = selftests.parse("group_type", TAP)
    assert (counts.passed, counts.failed, counts.skipped) == (1, 1, 1)
    assert "global.nonsense" in capsys.readouterr().out


def test_announced_faults_are_declared():
    text = TAP + "# 0000:00:06.0 must not reach 0x4001000\n"
    machine = SimpleNamespace(run_status=lambda *script: (1, text),
                              log="the log", declared=[])
    selftests.run_program(machine, "program")
    assert machine.declared == [splats.Fault("00:06.0", 0x4001000)]


@pytest.mark.parametrize("status, text", [(139, ""), (1, "ok 1 a\n"),
                                          (127, "not found\n")])
def test_program_that_dies_fails(status, text):
    machine = SimpleNamespace(run_status=lambda *script: (status, text),
                              log="the log")
    assert selftests.run_program(machine, "program").failed == 1


CASES = """1..4
# ok 9 no.case
ok 1 a.one
not ok 2 a.two
ok 3 a.three # SKIP no such thing
ok 4 a.four
"""


def test_cases_are_read():
    found = iommufd.cases(CASES)
    assert found == {"a.one": "pass", "a.two": "fail", "a.three": "skip",
                     "a.four": "pass"}
    assert iommufd.from_text(iommufd.to_text(found)) == found


@pytest.mark.parametrize("case, result, said", [
    ("a.one", "fail", "a.one: pass on the stock kernel, now fail"),
    ("a.one", "skip", "a.one: pass on the stock kernel, now skip"),
    ("a.one", None, "a.one: pass on the stock kernel, now not there"),
    ("a.new", "fail", "a.new: fail, and the stock kernel does not have it"),
    ("a.two", "pass", None), ("a.new", "pass", None), ("a.two", None, None)])
def test_case_that_got_worse_is_named(case, result, said):
    stock = iommufd.cases(CASES)
    found = {**stock, case: result}
    if result is None:
        del found[case]
    assert iommufd.worse(stock, found) == ([said] if said else [])


@pytest.mark.parametrize("script, control, told", [
    (SLOT_ON, 0x0100, "rescan"),
    (SLOT_OFF, 0x0700, "devices/port/0000/remove")], ids=["on", "off"])
def test_slot_is_served(tmp_path, script, control, told):
    port, card = tmp_path / "devices/port", tmp_path / "devices/port/0000"
    card.mkdir(parents=True)
    space = bytearray(range(256))
    # Three capabilities, of which the last is PCI Express
    space[0x34:0x35], space[0x40:0x42] = b"\x40", b"\x01\x60"
    space[0x60:0x62], space[0x50:0x52] = b"\x05\x50", b"\x10\x00"
    (port / "config").write_bytes(space)
    (card / "remove").touch()
    script = (SLOT_SCRIPT + script).replace("/sys/bus/pci", str(tmp_path))
    subprocess.run(["busybox", "sh", "-c", f"port=port{script}"], check=True)
    space[0x68:0x6a] = control.to_bytes(2, "little")
    assert (port / "config").read_bytes() == space
    assert (tmp_path / told).read_text() == "1\n"


def test_machine_that_does_not_boot(boot, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    machine = boot("no-boot", boot=["rdinit=/nothing", "init=/nothing"])
    with pytest.raises(LabError) as error:
        with machine:
            pass
    # What went wrong is in the message, nothing is left behind.
    assert "Kernel panic" in str(error.value) and str(machine.log) in str(
        error.value)
    assert not list(tmp_path.iterdir())
