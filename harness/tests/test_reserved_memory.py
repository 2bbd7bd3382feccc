# SPDX-License-Identifier: GPL-2.0
"""A device that firmware needs memory for, an RMRR of VT-d.

It reaches that memory at its physical address whatever the type of its group
is, and nothing else. The kernel is given QEMU's own table with the RMRR added.
"""

import base64

import pytest

from harness import acpi, hardware, initramfs, proofs

pytestmark = pytest.mark.needs("vtd-options")

DMAR = "/sys/firmware/acpi/tables/DMAR"
# Memory that the guest's kernel leaves alone, and half of it is the RMRR
START, SIZE = 0x6000000, 0x20000
BOOT = [f"memmap={SIZE:#x}${START:#x}"]
RESERVED, OUTSIDE = START, START + SIZE // 2
DATA = 0x123456789abcdef0


@pytest.fixture(scope="module", name="machine")
def fixture_machine(plain, kernel, boot, tmp_path_factory):
    """The first edu device has reserved memory, the second one has not."""
    dmar = base64.b64decode(plain.run(f"base64 {DMAR}"))
    table = acpi.with_reserved_memory(dmar, plain.device("edu0").address,
                                      RESERVED, OUTSIDE - 1)
    folder = tmp_path_factory.mktemp("acpi")
    with boot("reserved-memory", boot=BOOT,
              initrd=acpi.initramfs_with(folder, "dmar.aml", table,
                                         initramfs.initramfs(kernel))
              ) as machine:
        yield machine


def regions(machine, name):
    """The lines about memory that a group reaches one to one."""
    number = machine.group_of(name).number
    return [line for line in machine.run(
        f"cat /sys/kernel/iommu_groups/{number}/reserved_regions").splitlines()
        if line.endswith("direct")]


def reaches(machine, name, address, value):
    """Whether DMA to an address arrives."""
    proofs.Edu(machine, name).write(address, value)
    return hardware.memory(machine, address) == value


def is_blocked(machine, name, address, value):
    """Whether DMA to an address does not arrive, and is reported."""
    machine.expect_fault(name, address)
    return (not reaches(machine, name, address, value)
            and machine.wait_for_fault(name, address))


def test_group_shows_it(machine):
    assert regions(machine, "edu0") == [
        f"{RESERVED:#018x} {OUTSIDE - 1:#018x} direct"]
    assert not regions(machine, "edu1")
    assert machine.group_of("edu0").type == machine.spec.default_type


@pytest.mark.parametrize("kinds", [(), ("DMA",), ("DMA", "DMA-FQ"),
                                   ("identity", "DMA-FQ"), ("auto",)],
                         ids="-".join)
def test_device_reaches_it_and_no_more(machine, kinds):
    value = DATA + len(kinds)
    proofs.load_edu_driver(machine)
    for kind in kinds:
        assert proofs.set_type(machine, "edu0", kind) == 0
    for address in (RESERVED, OUTSIDE - 8):
        assert reaches(machine, "edu0", address, value)
    assert is_blocked(machine, "edu0", OUTSIDE, value)


def test_neighbour_does_not(machine):
    proofs.load_edu_driver(machine)
    assert is_blocked(machine, "edu1", RESERVED, DATA - 1)


def test_identity_reaches_all(machine):
    proofs.load_edu_driver(machine)
    assert proofs.set_type(machine, "edu0", "identity") == 0
    for address in (RESERVED, OUTSIDE):
        assert reaches(machine, "edu0", address, DATA)
