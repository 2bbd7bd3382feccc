# SPDX-License-Identifier: GPL-2.0
"""A machine that bypasses the IOMMU, but for the devices that are named."""

import pytest

from harness import machinespec, proofs

# One device for each way to name one.
NAMED = ("pci=iommu_translated=00:04.0;00:08.0/00.0;pci:1234:11e8;"
         "class:020000")
EXTRA = [
    machinespec.Device("disk2", "nvme", "01:00.0", disk_mib=64, bus="port0"),
    machinespec.Device("card", "e1000e", "00:0b.0", {"romfile": ""}),
]
TRANSLATED = {"address": "disk0", "path": "disk2", "ids": "edu0",
              "class": "card"}


def options(spec, *words):
    """What makes a machine that is told not to translate."""
    return {"devices": spec.devices + EXTRA,
            "boot": ["iommu.passthrough=1", NAMED, *words]}


@pytest.fixture(scope="module")
def lazy(boot, spec):
    """iommu.strict is not said, its default is lazy."""
    with boot("translated", **options(spec)) as machine:
        yield machine


@pytest.mark.parametrize("form", TRANSLATED)
def test_named_device_is_translated(lazy, form):
    name = TRANSLATED[form]
    assert proofs.type_and_source(lazy, name) == proofs.default(
        lazy, "parameter")
    assert proofs.hardware_is(lazy, name, "translated")
    assert proofs.says(lazy, name,
                       proofs.granted(lazy, name, "a translated"))


def test_others_are_not(lazy):
    named = {lazy.group_of(name).number for name in TRANSLATED.values()}
    named.add(lazy.group_of("edu1").number)
    others = [group for group in lazy.groups() if group.number not in named]
    assert lazy.group_of("disk1") in others
    assert {(group.type, group.source) for group in others} == {
        ("identity", "default")}
    assert proofs.hardware_is(lazy, "disk1", "identity")


@pytest.mark.parametrize("disk, seed", [
    ("disk0", 100), ("disk1", 200),
    pytest.param("disk2", 300, marks=pytest.mark.needs("boot-bus"))])
def test_disks_work(lazy, disk, seed):
    proofs.write_data(lazy, disk, seed)
    assert proofs.read_sum(lazy, disk) == proofs.data_sum(seed)


def test_named_device_is_kept_in_bounds(lazy):
    edu = proofs.Edu(lazy, "edu0")
    victim, before = edu.victim_address, edu.victim_value
    lazy.expect_fault("edu0", victim)
    edu.write(victim, 0x1234)
    lazy.wait_for_fault("edu0", victim)
    assert edu.victim_value == before
    edu.write(edu.mapped_address, 0x1234)
    assert edu.mapped_value == 0x1234


def test_strict_is_followed(boot, spec):
    with boot("translated-strict",
              **options(spec, "iommu.strict=1")) as machine:
        for name in TRANSLATED.values():
            assert proofs.type_and_source(machine, name) == ("DMA",
                                                             "parameter")
        assert proofs.type_and_source(machine, "disk1") == ("identity",
                                                            "default")
