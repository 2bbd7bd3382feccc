# SPDX-License-Identifier: GPL-2.0
"""Devices from outside: what firmware says of a port holds for them.

An untrusted device can only come into a group without translation if the
group has trusted devices. Here two ports share a group, as ports of one
slot do that have no ACS, and only one of them faces outside.
"""

import pytest

from harness import acpi, machinespec, proofs

pytestmark = pytest.mark.needs("acpi")

WIDE = {"dma_mask": "0xffffffffffffffff"}
NAMED = ("pci=iommu_passthrough=00:06.0;00:0a.0/00.0;00:0a.1/00.0;"
         "00:0b.0/00.0")


def port(name, address, number, **properties):
    """A root port."""
    return machinespec.Device(name, "pcie-root-port", address, {
        "chassis": number, "slot": number, **properties})


DEVICES = [
    machinespec.Device("spare", "edu", "00:06.0", WIDE),
    port("inner-port", "00:0a.0", "1", multifunction="on",
         **{"disable-acs": "on"}),
    port("outer-port", "00:0a.1", "2", **{"disable-acs": "on"}),
    port("other-port", "00:0b.0", "3"),
    machinespec.Device("inner", "edu", "01:00.0", WIDE, bus="inner-port"),
    machinespec.Device("outside", "edu", "03:00.0", WIDE, bus="other-port"),
]
STRANGER = machinespec.Device("stranger", "edu", "02:00.0", WIDE,
                              bus="outer-port")
REFUSED = ("{address}: Refused in iommu group {number}: the group is not "
           "translated, and this device is not trusted")


@pytest.fixture(scope="module")
def outer(boot, tmp_path_factory):
    """A machine whose firmware says that two ports face outside."""
    table = acpi.external_ports(tmp_path_factory.mktemp("acpi"),
                                "00:0a.1", "00:0b.0")
    with boot("untrusted", devices=DEVICES, extra=table,
              boot=[NAMED]) as machine:
        yield machine


@pytest.fixture(name="inner")
def fixture_inner(outer):
    """The trusted device; it uses the group."""
    return proofs.Edu(outer, "inner")


@pytest.fixture(scope="module")
def stranger(outer):
    """The name of a device that is plugged in while the group is in use."""
    proofs.load_edu_driver(outer)
    outer.plug(STRANGER)
    return STRANGER.name


def try_to_write(machine, name, inner):
    """Whether a device without driver reaches what is inner's."""
    inner.write(inner.victim_address, 0x1234)
    assert inner.victim_value == 0x1234
    proofs.write_unbound(machine, name, inner.victim_address)
    return inner.victim_value == 0


def bind_and_write(machine, name):
    """Let a driver have a device, which then reaches what is mapped for it."""
    status, text = proofs.set_driver(machine, name, "bind")
    assert status == 0, text
    device = proofs.Edu(machine, name)
    device.write(device.mapped_address, 0x9abc)
    assert device.mapped_value == 0x9abc


def test_wish_of_untrusted_is_not_granted(outer):
    assert proofs.type_and_source(outer, "outside") == ("DMA", "untrusted")
    assert proofs.hardware_is(outer, "outside", "translated")
    assert proofs.said_of(outer, "outside") == [proofs.not_granted(
        outer, "outside", "the group has an untrusted device, 0000:03:00.0")]


def test_wish_of_the_trusted_is(outer):
    group = outer.group_of("inner")
    assert {outer.device(name).full_address for name in (
        "inner-port", "outer-port", "inner")} <= set(group.devices)
    assert proofs.said_of(outer, "inner")[0] == proofs.granted(outer, "inner")


def test_stranger_is_refused(outer, stranger):
    group = outer.group_of("inner")
    assert (group.type, group.source) == ("identity", "parameter")
    assert group.devices["0000:02:00.0"] == ""
    line = REFUSED.format(address="0000:02:00.0", number=group.number)
    assert outer.serial().count(line) == 1
    assert proofs.hardware_is(outer, "inner", "identity")
    assert proofs.hardware_is(outer, stranger, "blocked")


def test_stranger_gets_no_driver(outer, stranger):
    status, text = proofs.set_driver(outer, stranger, "bind")
    assert status != 0 and "Permission denied" in text
    group = outer.group_of(stranger)
    assert group.devices["0000:02:00.0"] == ""
    outer.wait_for("0000:02:00.0: No driver can use DMA: refused in iommu "
                   f"group {group.number}$")


@pytest.mark.needs("boot-bus")
def test_stranger_can_do_no_dma(outer, inner, stranger):
    # A trusted device shows that the way to try it works.
    proofs.set_driver(outer, "spare", "unbind")
    assert try_to_write(outer, "spare", inner)
    outer.expect_fault(stranger, inner.victim_address)
    assert not try_to_write(outer, stranger, inner)
    outer.wait_for_fault(stranger, inner.victim_address)


@pytest.mark.needs("boot-bus")
def test_inner_goes_on(outer, inner, stranger):
    assert stranger
    inner.write(inner.victim_address, 0x5678)
    assert inner.victim_value == 0x5678


@pytest.mark.needs("boot-bus")
def test_stranger_is_let_in_with_translation(outer, stranger):
    status, text = proofs.set_driver(outer, "inner", "unbind")
    assert status == 0, text
    number = outer.group_of("inner").number
    outer.run(f"echo auto >/sys/kernel/iommu_groups/{number}/type")
    assert proofs.type_and_source(outer, "inner") == ("DMA", "untrusted")
    outer.wait_for("0000:02:00.0: No longer refused in iommu group "
                   f"{number}$")
    for name in (stranger, "inner"):
        assert proofs.hardware_is(outer, name, "translated")
    bind_and_write(outer, stranger)


@pytest.mark.needs("boot-bus", "identity-to-dma")
def test_inner_goes_on_with_translation(outer):
    assert proofs.type_and_source(outer, "inner") == ("DMA", "untrusted")
    bind_and_write(outer, "inner")
