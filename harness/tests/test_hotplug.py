# SPDX-License-Identifier: GPL-2.0
"""Devices that come while the machine runs, and go.

port0 and port1 are empty; of the card in port0 only function 0 is named, of
the one in port1 both.
"""

import pytest

from harness import machinespec, proofs

pytestmark = pytest.mark.needs("hotplug")

NAMED = ("pci=iommu_passthrough=00:08.0/00.0;00:09.0/00.0;00:09.0/00.1;"
         "00:0a.0;00:0a.1")
WIDE = {"dma_mask": "0xffffffffffffffff"}
PASSTHROUGH = ("identity", "parameter")


def function(name, address, bus="pcie.0"):
    """One function of a card, which says that it has others beside it.

    A function other than 0 that does not say so is taken for a card of its
    own when it is found in a running machine, and gets a group of its own.
    """
    return machinespec.Device(name, "edu", address,
                              {**WIDE, "multifunction": "on"}, bus=bus)


def card(bus, number):
    """A card with two functions; it is seen when function 0 comes last."""
    return [function(f"{bus}-1", f"{number}:00.1", bus),
            function(f"{bus}-0", f"{number}:00.0", bus)]


@pytest.fixture(scope="module")
def ports(boot, spec):
    """A machine with empty ports, and a card whose functions are named."""
    devices = [device for device in spec.devices
               if device.model == "pcie-root-port"]
    devices += [function("card0", "00:0a.0"), function("card1", "00:0a.1")]
    with boot("hotplug", devices=devices, boot=[NAMED]) as machine:
        yield machine


def test_port_keeps_its_interrupts(ports):
    """A port's driver does no DMA, but the IOMMU may translate its MSIs."""
    if ports.spec.arch == "x86_64":
        pytest.skip("no interrupt goes through a domain on x86")
    file = f"/sys/kernel/iommu_groups/{ports.group_of('port0').number}/type"
    line = (f"{ports.device('port0').full_address}: Type of iommu group "
            f"{ports.group_of('port0').number} not changed: interrupts of "
            "this device go through the group's domain")
    first = proofs.type_and_source(ports, "port0")
    for before, kind, after in (
            (first, "identity", "identity"),
            (("identity", "sysfs"), "DMA", "auto")):
        assert proofs.type_and_source(ports, "port0") == before
        said = ports.serial().count(line)
        status, text = ports.run_status(f"echo {kind} >{file}")
        assert status != 0 and "Operation not permitted" in text
        assert ports.serial().count(line) == said + 1
        assert proofs.type_and_source(ports, "port0") == before
        # Without its driver it has none.
        assert proofs.set_type(ports, "port0", after) == 0
    assert proofs.type_and_source(ports, "port0") == first


@pytest.fixture(name="single")
def fixture_single(ports):
    """A card with one function in port0; it is named."""
    ports.plug(machinespec.Device("single", "edu", "01:00.0", WIDE,
                                  bus="port0"))
    yield "single"
    ports.unplug("single")


@pytest.fixture(scope="module")
def half(ports):
    """A card in port0 of which one function is named; that one's name."""
    ports.plug(*card("port0", "01"))
    yield "port0-0"
    ports.unplug("port0-0", "port0-1")


def remove(machine, name):
    """Let the guest forget a device until it looks again."""
    address = machine.device(name).full_address
    machine.run(f"echo 1 >/sys/bus/pci/devices/{address}/remove")


def rescan(machine, name):
    """Let it look again, and find this one."""
    machine.run("echo 1 >/sys/bus/pci/rescan")
    machine.wait_for_device(name)


def write_type(machine, name, kind):
    """Write the type of a device's group."""
    machine.run(f"echo {kind} >/sys/kernel/iommu_groups/"
                f"{machine.group_of(name).number}/type")


def release(machine, *names):
    """Unbind devices from the edu driver, if that is loaded."""
    for name in names:
        if machine.group_of(name).devices[machine.device(name).full_address]:
            status, text = proofs.set_driver(machine, name, "unbind")
            assert status == 0, text


def test_named_device(ports, single):
    assert proofs.type_and_source(ports, single) == PASSTHROUGH
    assert proofs.hardware_is(ports, single, "identity")
    assert proofs.granted(ports, single) in proofs.said_of(ports, single)


def test_choice_is_forgotten_with_its_group(ports, single):
    # The card of the test before is gone, this one is a new group.
    assert proofs.type_and_source(ports, single) == PASSTHROUGH
    write_type(ports, single, "DMA")
    assert proofs.type_and_source(ports, single) == ("DMA", "sysfs")
    device = ports.device(single)
    ports.unplug(single)
    ports.plug(device)
    assert proofs.type_and_source(ports, single) == PASSTHROUGH


def test_card_of_which_one_function_is_named(ports, half):
    group = ports.group_of(half)
    assert sorted(group.devices) == ["0000:01:00.0", "0000:01:00.1"]
    assert (group.type, group.source) == proofs.default(ports)
    assert proofs.hardware_is(ports, "port0-0", "translated")
    assert proofs.hardware_is(ports, "port0-1", "translated")
    # It was granted while the function was alone.
    assert proofs.said_of(ports, half)[-2:] == [
        proofs.granted(ports, half), proofs.not_granted(
            ports, half,
            "the group has a device that does not wish it, 0000:01:00.1")]


def test_card_of_which_both_functions_are_named(ports):
    ports.plug(*card("port1", "02"))
    for name in ("port1-0", "port1-1"):
        assert proofs.type_and_source(ports, name) == PASSTHROUGH
        assert proofs.hardware_is(ports, name, "identity")
        assert proofs.said_of(ports, name)[-1] == proofs.granted(ports, name)
    ports.unplug("port1-0", "port1-1")


def test_leaving_changes_nothing(ports, half):
    remove(ports, "port0-1")
    assert proofs.type_and_source(ports, half) == proofs.default(ports)
    rescan(ports, "port0-1")
    assert proofs.type_and_source(ports, half) == proofs.default(ports)


def test_choice_stays_when_another_joins(ports, half):
    remove(ports, "port0-1")
    write_type(ports, half, "identity")
    rescan(ports, "port0-1")
    assert proofs.type_and_source(ports, half) == ("identity", "sysfs")
    assert proofs.hardware_is(ports, "port0-1", "identity")
    write_type(ports, half, "auto")
    assert proofs.type_and_source(ports, half) == proofs.default(ports)


def test_type_stays_while_the_group_is_in_use(ports, half):
    remove(ports, "port0-1")
    write_type(ports, half, "auto")
    assert proofs.type_and_source(ports, half) == PASSTHROUGH
    device = proofs.Edu(ports, half)
    rescan(ports, "port0-1")
    assert proofs.type_and_source(ports, half) == PASSTHROUGH
    assert proofs.hardware_is(ports, half, "identity")
    assert proofs.hardware_is(ports, "port0-1", "identity")
    device.write(device.victim_address, 0x1234)
    assert device.victim_value == 0x1234


def test_type_is_decided_again_when_it_is_not(ports, half):
    proofs.load_edu_driver(ports)
    release(ports, "port0-0", "port0-1")
    remove(ports, "port0-1")
    write_type(ports, half, "auto")
    assert proofs.type_and_source(ports, half) == PASSTHROUGH
    rescan(ports, "port0-1")
    assert proofs.type_and_source(ports, half) == proofs.default(ports)
    assert proofs.hardware_is(ports, half, "translated")


def test_all_named_functions_on_the_root_bus(ports):
    proofs.load_edu_driver(ports)
    assert proofs.type_and_source(ports, "card0") == PASSTHROUGH
    for name in ("card1", "card0"):
        remove(ports, name)
        rescan(ports, name)
        assert proofs.type_and_source(ports, name) == PASSTHROUGH
        assert sorted(ports.group_of(name).devices) == [
            "0000:00:0a.0", "0000:00:0a.1"]
    device = proofs.Edu(ports, "card0")
    device.write(device.victim_address, 0x5678)
    assert device.victim_value == 0x5678
