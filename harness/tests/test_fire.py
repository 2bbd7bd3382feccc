# SPDX-License-Identifier: GPL-2.0
"""Changes of types while everything else happens to the devices.

Three tasks of the selftest group_fire write types, bind and unbind drivers,
and open and close devices through VFIO; cards are plugged and unplugged from
here. Then the devices have to work, and nothing may be left behind.
"""

import random

import pytest

from harness import machinespec, proofs, selftests

pytestmark = [pytest.mark.needs("hotplug"), pytest.mark.needs("user-dma"),
              pytest.mark.needs("identity-to-dma")]

PROGRAM = "group_fire"
WIDE = {"dma_mask": "0xffffffffffffffff"}
# Operations in all, and how many of them are a card that comes or goes
OPERATIONS, PLUGS = 500, 32
LONG_OPERATIONS, LONG_PLUGS = 5000, 320
# Only what hangs takes that long
SECONDS, LONG_SECONDS = 1800, 10 * 3600
PAIR = proofs.edu_pair()
CARDS = [machinespec.Device(f"card{number}", "edu", f"0{number + 1}:00.0",
                            WIDE, bus=f"port{number}")
         for number in range(2)]
STAY = ("edu0", "edu1", "pair0", "pair1")


@pytest.fixture(scope="module", name="machine")
def fixture_machine(kernel, boot, spec):
    """A machine with edu devices, some of which share a group."""
    programs = selftests.build(kernel, [PROGRAM])
    with boot("fire", devices=[*spec.devices, *PAIR],
              programs=programs) as machine:
        proofs.load_edu_driver(machine)
        machine.run("insmod /lab/edu_managed_test.ko")
        for name in STAY:
            proofs.set_driver(machine, name, "unbind")
        yield machine


def start(machine, seed, operations):
    """Start the program in the guest."""
    machine.run(
        f"export GROUP_FIRE_SEED={seed} GROUP_FIRE_OPERATIONS={operations}; "
        f"(/lab/{PROGRAM} >/run/text 2>&1; echo $? >/run/status) "
        ">/run/none 2>&1 &")


def plug_and_unplug(machine, chance, number):
    """Let cards come and go, as often as that is to be."""
    plugged = []
    for _ in range(number):
        card = chance.choice(CARDS)
        if card in plugged:
            machine.unplug(card.name)
            plugged.remove(card)
        else:
            machine.plug(card)
            plugged.append(card)
    for card in plugged:
        machine.unplug(card.name)


def works(machine, name):
    """The group gets its default, and a driver's DMA arrives."""
    number = machine.group_of(name).number
    machine.run(f"echo auto >/sys/kernel/iommu_groups/{number}/type")
    assert proofs.type_and_source(machine, name) == proofs.default(machine)
    assert proofs.hardware_is(machine, name, "translated")
    status, text = proofs.set_driver(machine, name, "bind")
    assert status == 0, text
    edu = proofs.Edu(machine, name)
    edu.write(edu.mapped_address, 0x1111222233334444)
    assert edu.mapped_value == 0x1111222233334444
    status, text = proofs.set_driver(machine, name, "unbind")
    assert status == 0, text


def test_everything_at_once(machine, kernel, request, record_property):
    """500 operations; 5,000 with --long on the kernel that finds most."""
    long = request.config.getoption("--long") and kernel.config == "kasan"
    operations, plugs, seconds = \
        (LONG_OPERATIONS, LONG_PLUGS, LONG_SECONDS) if long \
        else (OPERATIONS, PLUGS, SECONDS)
    seed = random.randrange(1 << 31)
    record_property("figure", f"seed {seed}, {operations} operations")
    start(machine, seed, operations - plugs)
    plug_and_unplug(machine, random.Random(seed), plugs)
    machine.run("while ! [ -s /run/status ]; do sleep 1; done", seconds)
    text = machine.run("cat /run/text")
    for figure in selftests.figures(text):
        record_property("figure", figure)
    counts = selftests.parse(PROGRAM, text)
    assert (counts.passed, counts.total) == (3, 3), text
    assert machine.run("cat /run/status") == "0", text

    for name in STAY:
        works(machine, name)
    for card in CARDS:
        machine.plug(card)
        # Nobody has chosen a driver for it, and so it has one.
        proofs.set_driver(machine, card.name, "unbind")
        works(machine, card.name)
        machine.unplug(card.name)
