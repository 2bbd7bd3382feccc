# SPDX-License-Identifier: GPL-2.0
"""Lists with mistakes, and lists as long as a boot line can be."""

import pytest

from harness import machinespec, proofs

# The kernel's buffer for the boot line; its last byte is the end.
LINE = 2048
BAD = {
    "pci:0:0": "would match every device",
    "pci:1234:11e8:1": "two or four ids are needed",
    "00:20.0": "device is not a hexadecimal number from 0 to 1f",
    "00:04.8": "function is not a number from 0 to 7",
    "00:07.0x": "function is not a number from 0 to 7",
    "00:05.0/": "device is not a hexadecimal number from 0 to 1f",
}
PASSTHROUGH = ("identity", "parameter")


def whole_line(spec, words):
    """The boot line that a machine with these words gets."""
    return spec.boot_line([f"lab.agent={spec.agent}", *words])


def absent(number):
    """An entry for a device that no machine of ours has."""
    return f"0000:{number >> 5:02x}:{number & 31:02x}.7"


def filled(spec, words, option, end, length):
    """Words with one more, such that the line has some length.

    The last word is option, entries for absent devices, and end.
    """
    number = 0x40 << 5
    entries = absent(number)
    while True:
        left = length - len(whole_line(
            spec, [*words, option + entries + end]))
        if left < len(absent(0)) + 1:
            break
        number += 1
        entries += ";" + absent(number)
    # Empty entries mean nothing.
    return [*words, option + entries + ";" * left + end]


def test_filled_is_exact():
    spec = machinespec.spec()
    for length in range(LINE - 20, LINE + 20):
        words = filled(spec, ["a"], "b=", ";00:04.0", length)
        assert len(whole_line(spec, words)) == length
        assert words[-1].endswith(";00:04.0")


def complaints(machine):
    """What the log says of the lists' entries."""
    return [line.split("PCI: ")[1] for line in machine.serial().splitlines()
            if "PCI: " in line and ("iommu_" in line or "Unknown" in line)]


@pytest.fixture(scope="module")
def fitting(boot, spec):
    """The longest line that fits; its list ends before the line does."""
    words = ["pci=iommu_translated=00:05.0", "pci=iommu_passthrough=00:04.0"]
    words = filled(spec, words, "pci=iommu_passthrough=", ";00:07.0",
                   LINE - 1 - len(" rw"))
    line = whole_line(spec, [*words, "rw"])
    assert len(line) == LINE - 1
    with boot("lists-fitting", boot=[*words, "rw"]) as machine:
        assert machine.run("cat /proc/cmdline") == line
        yield machine


@pytest.fixture(scope="module")
def faulty(boot, spec):
    """All mistakes on one line, which is too long besides.

    What is left of the last entry, 00:05.0/00.0, is another one.
    """
    words = ["pci=iommu_passthrough=00:04.0,00:09.0",
             "pci=iommu_passthrough=" + ";".join(BAD) + ";00:07.0",
             "pci=iommu_translated=00:06.0;00:20.1",
             "pci=iommu_passthrough=00:06.0"]
    words = filled(spec, words, "pci=iommu_passthrough=", ";00:05.0/00.0",
                   LINE - 1 + len("/00.0"))
    with boot("lists-faulty", boot=words) as machine:
        # What is parsed ends before the buffer does, what is shown does not.
        line = machine.run("cat /proc/cmdline")[:LINE - 1]
        assert line == whole_line(spec, words)[:LINE - 1]
        assert line.endswith(";00:05.0")
        yield machine


def test_longest_line_works_to_its_end(fitting):
    assert not complaints(fitting)
    assert proofs.type_and_source(fitting, "disk0") == PASSTHROUGH
    assert proofs.type_and_source(fitting, "disk1") == proofs.default(
        fitting, "parameter")
    assert proofs.type_and_source(fitting, "edu0") == proofs.default(fitting)
    assert proofs.type_and_source(fitting, "edu1") == PASSTHROUGH


def test_each_mistake_is_named_once(faulty):
    expected = ["Unknown option `00:09.0'"]
    expected += [f"iommu_passthrough: entry '{entry}' ignored: {reason}"
                 for entry, reason in BAD.items()]
    expected += [
        "iommu_translated: entry '00:20.1' ignored: device is not a "
        "hexadecimal number from 0 to 1f",
        "iommu_passthrough: entry '00:05.0' ignored: command line is full, "
        "the entry may be cut off"]
    assert complaints(faulty) == expected


@pytest.mark.parametrize("option, level", [("passthrough", 4),
                                           ("translated", 3)])
def test_missing_protection_is_an_error(faulty, option, level):
    log = faulty.run("dmesg -r")
    entries = [line for line in log.splitlines()
               if f"PCI: iommu_{option}: entry" in line]
    assert entries
    assert all(line.startswith(f"<{level}>") for line in entries)


def test_good_entries_work(faulty):
    assert proofs.type_and_source(faulty, "disk0") == PASSTHROUGH
    assert proofs.type_and_source(faulty, "edu1") == PASSTHROUGH


def test_bad_entries_do_nothing(faulty):
    for name in ("disk1", "port1"):
        assert proofs.type_and_source(faulty, name) == proofs.default(faulty)


def test_translated_wins_over_passthrough(faulty):
    assert proofs.type_and_source(faulty, "edu0") == proofs.default(
        faulty, "parameter")
    assert proofs.says(faulty, "edu0",
                       proofs.granted(faulty, "edu0", "a translated"))
