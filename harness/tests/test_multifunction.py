# SPDX-License-Identifier: GPL-2.0
"""What devices in one group get that do not all wish the same.

That one of two functions alone gets nothing is in test_wish_not_granted.py.
"""

import pytest

from harness import machinespec, proofs

WIDE = {"dma_mask": "0xffffffffffffffff"}


def function(name, address, **properties):
    """A function of a card; there is no ACS between edu functions."""
    return machinespec.Device(name, "edu", address, {**WIDE, **properties})


DEVICES = [
    machinespec.Device("port0", "pcie-root-port", "00:08.0",
                       {"chassis": "1", "slot": "1"}),
    function("both0", "00:0b.0", multifunction="on"),
    function("both1", "00:0b.1"),
    function("mixed0", "00:0c.0", multifunction="on"),
    function("mixed1", "00:0c.1"),
    # A bridge to conventional PCI is in one group with what is behind it.
    machinespec.Device("bridge", "pcie-pci-bridge", "00:0d.0"),
    machinespec.Device("behind", "edu", "02:01.0", WIDE, bus="bridge"),
]
CHIPSET = [machinespec.Device(name, "", address) for name, address in [
    ("lpc", "00:1f.0"), ("sata", "00:1f.2"), ("smbus", "00:1f.3")]]
PASSTHROUGH = ["00:08.0", "00:0b.0", "00:0b.1", "00:0c.0", "00:0c.1",
               "00:0d.0/01.0", "00:1f.2", "00:1f.3"]


@pytest.fixture(scope="module")
def cards(boot):
    """A machine with all of these cards."""
    words = ["pci=iommu_passthrough=" + ";".join(PASSTHROUGH),
             "pci=iommu_translated=00:0c.1"]
    with boot("multifunction", devices=DEVICES, present=CHIPSET,
              boot=words) as machine:
        yield machine


def addresses(machine, *names):
    """The group of some devices has these and no others."""
    return sorted(machine.device(name).full_address for name in names)


def test_both_functions_wish(cards):
    group = cards.group_of("both0")
    assert sorted(group.devices) == addresses(cards, "both0", "both1")
    assert (group.type, group.source) == ("identity", "parameter")
    for name in ("both0", "both1"):
        assert proofs.hardware_is(cards, name, "identity")
        assert proofs.says(cards, name, proofs.granted(cards, name))


def test_translated_wins(cards):
    group = cards.group_of("mixed0")
    assert sorted(group.devices) == addresses(cards, "mixed0", "mixed1")
    assert (group.type, group.source) == proofs.default(cards, "parameter")
    assert proofs.hardware_is(cards, "mixed0", "translated")
    assert proofs.says(cards, "mixed0", proofs.not_granted(
        cards, "mixed0",
        "the group has a device to be translated, 0000:00:0c.1"))
    assert proofs.says(cards, "mixed1",
                       proofs.granted(cards, "mixed1", "a translated"))


def test_bridge_alone_keeps_the_default(cards):
    group = cards.group_of("port0")
    assert sorted(group.devices) == addresses(cards, "port0")
    assert (group.type, group.source) == proofs.default(cards)
    assert proofs.says(cards, "port0", proofs.not_granted(
        cards, "port0", "the group has only bridges"))


@pytest.mark.needs("conventional")
def test_bridge_has_no_say(cards):
    group = cards.group_of("behind")
    assert sorted(group.devices) == addresses(cards, "bridge", "behind")
    assert (group.type, group.source) == ("identity", "parameter")
    assert proofs.says(cards, "behind", proofs.granted(cards, "behind"))


@pytest.mark.needs("chipset")
def test_lpc_bridge_is_a_device(cards):
    group = cards.group_of("lpc")
    assert sorted(group.devices) == addresses(cards, "lpc", "sata", "smbus")
    assert (group.type, group.source) == proofs.default(cards)
    for name in ("sata", "smbus"):
        assert proofs.says(cards, name, proofs.not_granted(
            cards, name,
            "the group has a device that does not wish it, 0000:00:1f.0"))
