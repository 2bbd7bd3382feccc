# SPDX-License-Identifier: GPL-2.0
"""A disk that may keep translations of its own, as PCIe's ATS lets it.

VT-d tells the device to forget them when something is unmapped, and switches
ATS on and off with the domain that the device is in. QEMU's virtio devices
have it, behind a port, and QEMU says which invalidations it is asked for. This
one keeps none, so that an invalidation which is missing shows only there.
"""

import dataclasses
import re

import pytest

from harness import hardware, machinespec, proofs
from harness.machine import Machine
from harness.tests.test_vtd_options import changed

pytestmark = pytest.mark.needs("vtd-options")

DISK = machinespec.Device(
    "ats0", "virtio-blk-pci", "01:00.0",
    {"disable-legacy": "on", "iommu_platform": "on", "ats": "on"},
    disk_mib=64, bus="port0")
# QEMU has device TLBs only without PASIDs.
OPTIONS = "x-pasid-mode=off,device-iotlb=on"
SEED = 8000000
ATS = 0x0f
ATS_ENABLE = 1 << 15
INVALIDATION = re.compile(r"type device high 0x\w+ low 0x(\w+)")


@pytest.fixture(scope="module", name="machine")
def fixture_machine(kernel, logs, spec):
    spec = dataclasses.replace(changed(spec, OPTIONS, ""),
                               trace=["vtd_inv_desc"])
    with Machine(kernel, logs / spec.name / "device-tlb.serial.log", spec,
                 devices=[*spec.devices, DISK]) as machine:
        proofs.write_data(machine, "ats0", SEED)
        yield machine


def ats_is_on(machine):
    """What the disk's ATS capability says."""
    capability = hardware.extended_capability(machine, "ats0", ATS)
    return bool(int.from_bytes(capability[6:8], "little") & ATS_ENABLE)


def invalidations(machine):
    """How often the disk was told to forget translations."""
    requester = hardware.requester(DISK.address)
    return sum(int(low, 16) >> 32 & 0xffff == requester
               for low in INVALIDATION.findall(machine.trace()))


def told_by_reading(machine):
    """How often the disk is told to forget when its data is read."""
    # A lazy queue is flushed within 10 ms of the last unmapping.
    machine.run("sleep 1")
    before = invalidations(machine)
    assert proofs.read_sum(machine, "ats0") == proofs.data_sum(SEED)
    return invalidations(machine) - before


def test_disk_is_told_what_to_forget(machine):
    assert machine.group_of("ats0").type == machine.spec.default_type
    assert told_by_reading(machine) > 0
    assert ats_is_on(machine)


@pytest.mark.parametrize("kinds", [
    ("DMA", "DMA-FQ", "auto"), ("identity",), ("DMA", "identity", "DMA-FQ")],
    ids="-".join)
def test_changes(machine, kinds):
    """Identity needs no device TLB, but in scalable mode ATS stays on."""
    scalable = "pasids" not in machine.spec.cannot
    for kind in kinds:
        if (machine.group_of("ats0").type == "identity" and kind != "identity"
                and "identity-to-dma" in machine.spec.cannot):
            pytest.skip(machine.spec.cannot["identity-to-dma"])
        assert proofs.set_type(machine, "ats0", kind) == 0
        assert (told_by_reading(machine) > 0) == (kind != "identity")
        assert ats_is_on(machine) == (scalable or kind != "identity")
