# SPDX-License-Identifier: GPL-2.0
"""A group's type is changed and changed back while the disk keeps its data."""

import itertools

import pytest

from harness import proofs

SEED = 5000000
EINVAL_TEXT = "Invalid argument"
CHANGES_BACK = pytest.mark.needs("identity-to-dma")


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
