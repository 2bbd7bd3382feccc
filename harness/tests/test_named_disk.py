# SPDX-License-Identifier: GPL-2.0
"""Of two disks the named one bypasses the IOMMU; both keep their data."""

import pytest

from harness import proofs


def test_named_disk_is_identity(named):
    group = named.group_of("disk0")
    assert (group.type, group.source) == ("identity", "parameter")


def test_other_disk_has_the_default(named):
    group = named.group_of("disk1")
    assert (group.type, group.source) == proofs.default(named)


def test_granted_wish_is_said_once(named):
    number = named.group_of("disk0").number
    line = ("0000:00:04.0: Wish for an identity default domain granted, "
            f"iommu group {number} (parameter)")
    assert named.serial().count(line) == 1


@pytest.mark.needs("tables")
def test_hardware_tables_agree(named):
    assert proofs.hardware_type(named, "disk0") == "identity"
    assert proofs.hardware_type(named, "disk1") == "translated"


@pytest.mark.parametrize("disk, seed", [("disk0", 0), ("disk1", 3000000)])
def test_data_comes_back(named, disk, seed):
    proofs.write_data(named, disk, seed)
    assert proofs.read_sum(named, disk) == proofs.data_sum(seed)
