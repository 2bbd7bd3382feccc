# SPDX-License-Identifier: GPL-2.0
"""DMA through the domains of VFIO and iommufd, by devices of user space.

The work is done by the selftest user_dma. Here its faults are looked for in
the log, its devices are unplugged and its processes are killed, and what is
left behind is looked at.
"""

import itertools
import re

import pytest

from harness import machinespec, proofs, selftests, splats

pytestmark = pytest.mark.needs("user-dma")

PROGRAM = "user_dma"
VARIANTS = ("type1", "iommufd", "iommufd_hwpt")
# How many accesses of each test are blocked
TESTS = {"unmapped": 2, "two_devices": 2, "two_spaces": 1, "killed": 1,
         "unplugged": 0, "replace_fails": 1, "first_fails": 1,
         "attach_refused": 1}
# Where the device has no domain when it is blocked
WITHOUT_DOMAIN = ("first_fails", "attach_refused")
# What a container cannot do
IOMMUFD = ("replace_fails", "first_fails", "attach_refused")
CASES = [(variant, test) for variant in VARIANTS for test in TESTS
         if variant != "type1" or test not in IOMMUFD]
# What the program says when it has let every allocation of an attach fail
FAILED = re.compile(r"(\d+) allocations of .* failed one by one, (\d+) harm")
# For a new domain of VT-d: two are iommufd's, the others are the record of the
# IOMMU, the batch of invalidations and a cache tag.
VTD_REFUSED = 5
CARDS = ("card0", "card1")
WIDE = {"dma_mask": "0xffffffffffffffff"}
NUMBERS = itertools.count()


@pytest.fixture(scope="module", name="machine")
def fixture_machine(kernel, boot):
    """A machine with two edu devices, bound to a driver of the kernel."""
    programs = selftests.build(kernel, [PROGRAM])
    with boot("user-dma", programs=programs) as machine:
        proofs.load_edu_driver(machine)
        yield machine


@pytest.fixture(name="cards")
def fixture_cards(machine):
    """Two more edu devices, that can be unplugged."""
    for number, name in enumerate(CARDS):
        machine.plug(machinespec.Device(name, "edu", f"0{number + 1}:00.0",
                                        WIDE, bus=f"port{number}"))
    yield CARDS
    for name in CARDS:
        if any(device.name == name for device in machine.known):
            machine.unplug(name)


def say(machine, text):
    """Put a line into the kernel's log, and wait until it is there."""
    mark = f"user-dma {text} {next(NUMBERS)}"
    machine.run(f"echo '{mark}' >/dev/kmsg")
    machine.wait_for(mark)
    return mark


def passes(status, text):
    """Judge a run of one test by its status and its output."""
    counts = selftests.parse(PROGRAM, text)
    assert (status, counts.passed, counts.total) == (0, 1, 1), text


def works(machine, name):
    """The kernel's driver has the device, and its DMA arrives."""
    edu = proofs.Edu(machine, name)
    edu.write(edu.mapped_address, 0x1111222233334444)
    assert edu.mapped_value == 0x1111222233334444
    edu.stream(0x5555666677778888)
    assert edu.victim_value == 0x5555666677778888
    assert proofs.hardware_is(machine, name, "translated")


def state(machine):
    """What a test has to leave as it was: groups, devices and drivers."""
    return sorted((group.type, group.source, sorted(group.devices.items()))
                  for group in machine.groups())


def start(machine, variant):
    """Start the test unplugged on the cards, up to where it waits."""
    devices = " ".join(machine.device(name).full_address for name in CARDS)
    machine.run(
        "rm -f /run/text /run/status; "
        f"export USER_DMA_UNPLUG=1 USER_DMA_DEVICES='{devices}'; "
        f"(/lab/{PROGRAM} -r {PROGRAM}.{variant}.unplugged >/run/text 2>&1; "
        "echo $? >/run/status) >/run/none 2>&1 & "
        "while ! grep -q 'waiting for' /run/text; do "
        "[ ! -s /run/status ] || { cat /run/text; exit 1; }; "
        "sleep 0.2; done")
    # One domain serves both.
    if machine.spec.name == "vtd":
        assert len({proofs.page_table(machine, name) for name in CARDS}) == 1


def finish(machine):
    """Wait for the end of what was started; status and output."""
    status = machine.run("while ! [ -s /run/status ]; do sleep 0.2; done; "
                         "cat /run/status")
    return int(status), machine.run("cat /run/text")


@pytest.mark.parametrize("variant, test", CASES)
def test_program(machine, variant, test, record_property):
    before = state(machine)
    begin = say(machine, f"{variant} {test} begins")
    traced = len(machine.trace())
    status, text = machine.run_status(
        f"/lab/{PROGRAM} -r {PROGRAM}.{variant}.{test}",
        selftests.PROGRAM_SECONDS)
    end = say(machine, f"{variant} {test} ends")
    blocked = selftests.announced(text)
    machine.declared += blocked
    passes(status, text)
    for figure in selftests.figures(text):
        record_property("figure", figure)
    for failed, harmless in FAILED.findall(text):
        assert (machine.spec.tables != "vtd" or
                int(failed) - int(harmless) >= VTD_REFUSED), text
    # Each is reported, once, and nothing else is.
    assert len(blocked) == TESTS[test]
    log = machine.serial()
    said = splats.faults("\n".join([log[log.index(begin):log.index(end)],
                                    machine.trace()[traced:]]))
    silent = machine.spec.silent_without_domain and test in WITHOUT_DOMAIN
    assert [fault for fault, _ in said] == ([] if silent else blocked)
    assert state(machine) == before
    works(machine, "edu0")
    works(machine, "edu1")


@pytest.mark.parametrize("variant", VARIANTS)
def test_unplugged_while_mapped(machine, cards, variant):
    device = machine.device(cards[0])
    start(machine, variant)
    machine.unplug(cards[0])
    passes(*finish(machine))
    works(machine, cards[1])
    machine.plug(device)
    works(machine, cards[0])


@pytest.mark.parametrize("variant", VARIANTS)
def test_killed_while_mapped(machine, cards, variant):
    start(machine, variant)
    machine.run(f"killall -9 {PROGRAM}")
    for name in cards:
        # Unbinding waits until the last process has let go of the device.
        address = machine.device(name).full_address
        assert machine.group_of(name).devices[address] == "vfio-pci"
        machine.run(f"cd /sys/bus/pci/devices/{address}; "
                    f"echo {address} >driver/unbind; "
                    "echo >driver_override; "
                    f"echo {address} >/sys/bus/pci/drivers_probe")
        works(machine, name)
