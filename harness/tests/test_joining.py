# SPDX-License-Identifier: GPL-2.0
"""Devices join their groups when they are added, whatever describes them.

Here no edu device ever has a driver.
"""

import re

import pytest

from harness import machinespec, proofs

CARD = [machinespec.Device(f"card{number}", "edu", f"00:0a.{number}",
                           {"multifunction": "on"}) for number in (0, 1)]
NAMED = ["pci=iommu_passthrough=00:0a.0;00:0a.1"]


@pytest.fixture(scope="module")
def card(boot, spec):
    """A machine with a card of two functions, both of which are named."""
    with boot("joining", devices=[*spec.devices, *CARD],
              boot=NAMED) as machine:
        yield machine


def test_device_without_driver_has_a_group(plain):
    group = plain.group_of("edu0")
    address = plain.device("edu0").full_address
    assert group.devices == {address: ""}
    assert (group.type, group.source) == proofs.default(plain)


def test_every_endpoint_has_a_group(plain):
    grouped = {address for group in plain.groups()
               for address in group.devices}
    for device in plain.devices:
        assert device.full_address in grouped, device.name


def test_card_gets_one_decision(card):
    group = card.group_of("card0")
    assert group.devices == {card.device(f"card{number}").full_address: ""
                             for number in (0, 1)}
    assert (group.type, group.source) == ("identity", "parameter")
    for name in ("card0", "card1"):
        assert proofs.hardware_is(card, name, "identity")
        # A decision without its sibling would have said something else first
        assert proofs.says(card, name, proofs.granted(card, name))


def test_all_join_before_any_decision(card):
    joined = [match.start() for match in re.finditer(
        r"pci [0-9a-f:.]+: Adding to iommu group", card.serial())]
    decided = card.serial().index("Wish for")
    assert len(joined) > len(CARD)
    assert max(joined) < decided
