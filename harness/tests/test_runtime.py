# SPDX-License-Identifier: GPL-2.0
"""A group's type is changed and changed back while the disk keeps its data."""

import itertools

import pytest

from harness import machinespec, proofs

SEED = 5000000
EINVAL_TEXT = "Invalid argument"
CHANGES_BACK = pytest.mark.needs("identity-to-dma")
# Two disks on one card, without ACS between them: one group.
PAIR = [machinespec.Device(f"pair{number}", "nvme", f"00:0a.{number}",
                           {"multifunction": "on"}, disk_mib=64)
        for number in range(2)]


def state(machine, name):
    """(type, source) of a device's group."""
    group = machine.group_of(name)
    return group.type, group.source


@CHANGES_BACK
@pytest.mark.parametrize("first", ["DMA", "DMA-FQ"])
def test_switch_keeps_data(named, first):
    assert proofs.set_type(named, "disk1", first) == 0
    proofs.write_data(named, "disk1", SEED)
    for kind, hardware in (("identity", "identity"), (first, "translated")):
        assert proofs.set_type(named, "disk1", kind) == 0
        assert named.group_of("disk1").type == kind
        assert proofs.hardware_is(named, "disk1", hardware)
        assert proofs.read_sum(named, "disk1") == proofs.data_sum(SEED)


@CHANGES_BACK
def test_many_changes_keep_data(named, request):
    """Fifty with --long; each brings the disk's driver back to the data."""
    number = 50 if request.config.getoption("--long") else 6
    kinds = itertools.cycle(("identity", "DMA", "DMA-FQ", "auto"))
    proofs.write_data(named, "disk1", SEED)
    for kind in itertools.islice(kinds, number):
        assert proofs.set_type(named, "disk1", kind) == 0
        assert state(named, "disk1") == (
            proofs.default(named) if kind == "auto" else (kind, "sysfs"))
        assert proofs.read_sum(named, "disk1") == proofs.data_sum(SEED)
    assert proofs.set_type(named, "disk1", "auto") == 0


@pytest.fixture(scope="module")
def pair(boot):
    """A machine with two disks in one group; the disks have data."""
    with boot("pair", devices=PAIR) as machine:
        for number, disk in enumerate(PAIR):
            proofs.write_data(machine, disk.name, SEED + number)
        yield machine


def rejoin(machine, name):
    """The guest forgets a disk and finds it again, with its driver."""
    address = machine.device(name).full_address
    machine.run(f"echo 1 >/sys/bus/pci/devices/{address}/remove && "
                "echo 1 >/sys/bus/pci/rescan")
    machine.wait_for_device(name)
    proofs.wait_for_disk(machine, name)


@pytest.mark.long
def test_many_changes_with_members_that_rejoin(pair):
    """Each disk leaves its group, which the other keeps, and comes back.

    Everything that the IOMMU knows of a device is made anew then, and so
    this is also for machines where a disk does not work after a change from
    identity, because something of the old state is left.
    """
    number = 50 if "identity-to-dma" in pair.spec.cannot else 6
    kinds = itertools.cycle(("identity", "DMA", "DMA-FQ"))
    group = pair.group_of("pair0")
    assert sorted(group.devices) == [disk.full_address for disk in PAIR]
    for at, kind in enumerate(itertools.islice(kinds, number)):
        for disk in PAIR:
            pair.run(f"echo {disk.full_address} "
                     ">/sys/bus/pci/drivers/nvme/unbind")
        pair.run(f"echo {kind} >/sys/kernel/iommu_groups/{group.number}/type")
        for disk in PAIR:
            rejoin(pair, disk.name)
        assert state(pair, "pair0") == (kind, "sysfs")
        assert pair.group_of("pair1").number == group.number
        for disk in PAIR:
            assert proofs.hardware_is(
                pair, disk.name,
                "identity" if kind == "identity" else "translated")
        # Reading takes longest: one of them, in turn
        assert proofs.read_sum(pair, f"pair{at % 2}") == proofs.data_sum(
            SEED + at % 2)


@CHANGES_BACK
def test_source_is_sysfs(named):
    assert proofs.set_type(named, "disk1", "identity") == 0
    assert state(named, "disk1") == ("identity", "sysfs")
    assert proofs.set_type(named, "disk1", "auto") == 0
    assert state(named, "disk1") == proofs.default(named)


@CHANGES_BACK
def test_auto_goes_back_to_the_wish(named):
    assert proofs.set_type(named, "disk0", "DMA") == 0
    assert state(named, "disk0") == ("DMA", "sysfs")
    assert proofs.hardware_is(named, "disk0", "translated")
    assert proofs.set_type(named, "disk0", "auto") == 0
    assert state(named, "disk0") == ("identity", "parameter")
    assert proofs.hardware_is(named, "disk0", "identity")


@pytest.mark.parametrize("word", ["passthrough", "DMA-F", "identity2"])
def test_nonsense_changes_nothing(named, word):
    before = state(named, "disk1")
    status, text = named.run_status(
        f"echo {word} >/sys/kernel/iommu_groups/"
        f"{named.group_of('disk1').number}/type")
    assert status != 0 and EINVAL_TEXT in text
    assert state(named, "disk1") == before


def test_bound_device_is_busy(named):
    before = state(named, "disk1")
    status, text = named.run_status(
        "echo identity >/sys/kernel/iommu_groups/"
        f"{named.group_of('disk1').number}/type")
    assert status != 0 and "Operation not permitted" in text
    assert state(named, "disk1") == before
