# SPDX-License-Identifier: GPL-2.0
"""What a device may write to follows from its group's type, and only that.

Two edu devices in one boot: edu0 has the default, edu1 is named. The control
of the blocked write is twofold: the same device reaches a page that is
mapped for it, and the other device reaches the very same victim page.
"""

import pytest

from harness import proofs


@pytest.fixture(name="edu0")
def fixture_edu0(named):
    return proofs.Edu(named, "edu0")


@pytest.fixture(name="edu1")
def fixture_edu1(named):
    return proofs.Edu(named, "edu1")


def test_types_differ(named):
    assert named.group_of("edu0").type == named.spec.default_type
    assert named.group_of("edu1").type == "identity"
    assert proofs.hardware_is(named, "edu0", "translated")
    assert proofs.hardware_is(named, "edu1", "identity")


def test_mapped_address_arrives(edu0):
    edu0.write(edu0.mapped_address, 0x1111222233334444)
    assert edu0.mapped_value == 0x1111222233334444


def test_unmapped_address_is_blocked(named, edu0):
    victim, before = edu0.victim_address, edu0.victim_value
    named.expect_fault("edu0", victim)
    edu0.write(victim, 0x5555666677778888)
    assert named.wait_for_fault("edu0", victim)
    assert edu0.victim_value == before
    # The engine did its work: after the blocked write it still reaches
    # what is mapped.
    edu0.write(edu0.mapped_address, 0x5555666677778888)
    assert edu0.mapped_value == 0x5555666677778888


def test_identity_reaches_physical_memory(edu0, edu1):
    edu1.write(edu1.victim_address, 0x9999aaaabbbbcccc)
    assert edu1.victim_value == 0x9999aaaabbbbcccc
    edu1.write(edu0.victim_address, 0xddddeeeeffff0000)
    assert edu0.victim_value == 0xddddeeeeffff0000


@pytest.mark.needs("identity-to-dma")
def test_nothing_is_left_of_identity(named, edu0, edu1):
    """What a device could reach before its group was changed."""
    victim = edu0.victim_address
    edu1.write(victim, 0x1111aaaa2222bbbb)
    assert edu0.victim_value == 0x1111aaaa2222bbbb
    assert proofs.set_type(named, "edu1", "DMA") == 0
    named.expect_fault("edu1", victim)
    edu1.write(victim, 0x3333cccc4444dddd)
    assert named.wait_for_fault("edu1", victim)
    assert edu0.victim_value == 0x1111aaaa2222bbbb
    edu1.write(edu1.mapped_address, 0x3333cccc4444dddd)
    assert edu1.mapped_value == 0x3333cccc4444dddd
    assert proofs.set_type(named, "edu1", "auto") == 0
    assert named.group_of("edu1").type == "identity"
