# SPDX-License-Identifier: GPL-2.0
"""Without translation, a device that addresses little memory is bounced."""

import pytest

from harness import machinespec, proofs

pytestmark = pytest.mark.needs("low-memory")

# What QEMU's edu can address unless it is told otherwise.
BITS = 28
COUNTERS = "/sys/kernel/debug/swiotlb"
# What it can address is all of the low memory and has the bounce buffers; the
# rest, as much or more, is above 4 GiB, where pages are taken from first.
MEMORY = ["-machine", "max-ram-below-4g=256M"]


@pytest.fixture(scope="module")
def narrow(boot):
    """Two such devices, edu1 is named."""
    devices = [machinespec.Device("edu0", "edu", "00:06.0"),
               machinespec.Device("edu1", "edu", "00:07.0")]
    with boot("swiotlb", devices=devices, extra=MEMORY,
              boot=["pci=iommu_passthrough=00:07.0"]) as machine:
        yield machine


def bounced(machine):
    """How much of the bounce buffers was ever in use at once, now in use."""
    return [int(number) for number in machine.run(
        f"cd {COUNTERS} && cat io_tlb_used_hiwater io_tlb_used").split()]


def stream(machine, name, value):
    """Let a device write to a page that it cannot address; the counters."""
    edu = proofs.Edu(machine, name, f"dma_bits={BITS}")
    assert edu.victim_address >> BITS
    machine.run(f"echo 0 >{COUNTERS}/io_tlb_used_hiwater")
    before = bounced(machine)
    edu.stream(value)
    assert edu.victim_value == value
    return before, bounced(machine)


def test_translated_device_is_not_bounced(narrow):
    assert narrow.group_of("edu0").type == narrow.spec.default_type
    assert stream(narrow, "edu0", 0x1111222233334444) == ([0, 0], [0, 0])


def test_identity_device_is_bounced(narrow):
    assert narrow.group_of("edu1").type == "identity"
    before, after = stream(narrow, "edu1", 0x5555666677778888)
    assert before == [0, 0]
    assert after[0] > 0
    assert after[1] == 0
