# SPDX-License-Identifier: GPL-2.0
"""The root filesystem is on the named disk, the driver is built in."""

import pytest


@pytest.fixture(scope="module")
def rooted(boot):
    """A machine without an initramfs that boots from the named disk."""
    with boot("root-disk", root_disk="disk0",
              boot=["pci=iommu_passthrough=0000:00:04.0"]) as machine:
        yield machine


def test_root_is_the_named_disk(rooted):
    device = rooted.run(
        "number=$(awk '$5 == \"/\" { n = $3 } END { print n }' "
        "/proc/self/mountinfo); readlink -f /sys/dev/block/$number")
    assert "/0000:00:04.0/nvme/" in device


def test_root_disk_is_identity(rooted):
    group = rooted.group_of("disk0")
    assert (group.type, group.source) == ("identity", "parameter")
    assert rooted.group_of("disk1").source == "default"


def test_identity_before_the_first_request(rooted):
    lines = rooted.serial().splitlines()

    def first(*words):
        return next((number for number, line in enumerate(lines)
                     if all(word in line for word in words)), None)

    granted = first("0000:00:04.0: Wish for", "domain granted")
    driver = first("nvme", "pci function 0000:00:04.0")
    assert driver is not None
    assert granted is not None and granted < driver
