# SPDX-License-Identifier: GPL-2.0
"""A wish that cannot be granted is said; a bad entry spoils no good one."""

import pytest

from harness import machinespec, proofs

# One card with two functions and no ACS between them: one group.
WIDE = {"dma_mask": "0xffffffffffffffff"}
CARD = [
    machinespec.Device("card0", "edu", "00:0a.0",
                       {**WIDE, "multifunction": "on"}),
    machinespec.Device("card1", "edu", "00:0a.1", WIDE),
]


@pytest.fixture(scope="module")
def carded(boot, spec):
    """A machine with the card, one function named among other entries."""
    with boot("wish-not-granted", devices=spec.devices + CARD,
              boot=["pci=iommu_passthrough=zz;00:04.0;00:0a.0"]) as machine:
        yield machine


def test_group_of_two_keeps_the_default(carded):
    group = carded.group_of("card0")
    assert sorted(group.devices) == ["0000:00:0a.0", "0000:00:0a.1"]
    assert (group.type, group.source) == proofs.default(carded)


def test_refusal_names_who_holds_out(carded):
    number = carded.group_of("card0").number
    said = [line for line in carded.serial().splitlines()
            if "Wish for an identity default domain not granted" in line]
    assert len(said) == 1
    assert (f"0000:00:0a.0: Wish for an identity default domain not granted, "
            f"iommu group {number} (parameter): ") in said[0]
    assert "0000:00:0a.1" in said[0]


def test_bad_entry_is_named_once(carded):
    assert carded.serial().count("iommu_passthrough: entry 'zz' ") == 1


def test_good_entry_works(carded):
    group = carded.group_of("disk0")
    assert (group.type, group.source) == ("identity", "parameter")
