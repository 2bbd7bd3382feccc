# SPDX-License-Identifier: GPL-2.0
"""Several domains on one device.

QEMU has no device that announces PASIDs, so a module presents a bus with
some. They do no DMA; what their numbers lead to is read from the IOMMU's
tables, past the kernel, down to the page.
"""

import re

import pytest

from harness import hardware, proofs

TEST = "aux_domain_test"
EXAMPLE = "aux_domain_example"
FILES = f"/sys/kernel/debug/{TEST}"
PCI = "/sys/bus/pci"
# A number that a port has in reserve, for what is plugged in; then VT-d's
# driver takes the bus for one behind this port.
RESERVE = "pci=assign-busses,hpbussize=4"
BUS = "03"
# Bits of the functions' PASIDs; the last one has too few to be of use
BITS = [8, 8, 1, 0]
NAMES = [f"0000:{BUS}:{slot:02x}.0" for slot in range(len(BITS))]
FIRST, SECOND, SMALL, ZERO = NAMES
PIECE_REGISTERS = 0x80
LEFT = "Detached {} auxiliary domains that the driver left attached"
NOT_ATTACHED = "Not attached to the auxiliary domain that "
LEAKED = "frees a domain that is attached as an auxiliary one: it is leaked"


# The modules

def present_bus(machine, options=""):
    """Load the module with the bus, and the test driver."""
    bits = ",".join(str(each) for each in BITS)
    machine.run(f"insmod /lab/pasid_bus.ko bus={int(BUS, 16)} "
                f"functions={len(BITS)} bits={bits} {options}")
    load(machine, TEST)


def load(machine, module):
    """Load a driver for the functions of the bus."""
    machine.run(f"[ -d /sys/module/{module} ] || insmod /lab/{module}.ko")


def command(machine, name, words):
    """(status, output) of a command of the test driver."""
    return machine.run_status(f"echo {words} >{FILES}/{name}/command")


def do(machine, name, *commands):
    """Commands that must succeed."""
    for words in commands:
        status, text = command(machine, name, words)
        assert status == 0, f"{name} {words}: {text}"


def fails(machine, name, words, error):
    """Whether a command fails with this error."""
    status, text = command(machine, name, words)
    return status != 0 and error in text


def capable(machine):
    """{address: whether it can have auxiliary domains}."""
    lines = machine.run(f"cat {FILES}/capable").splitlines()
    return {name: value == "1" for name, value in map(str.split, lines)}


def domains(machine):
    """{number: (id, physical address of its page)}."""
    found = {}
    for line in machine.run(f"cat {FILES}/domains").splitlines():
        number, ident, page = line.split()
        found[int(number)] = int(ident), int(page, 16)
    return found


def unbind(machine, name, driver=TEST):
    """Take a driver away from a function."""
    machine.run(f"echo {name} >{PCI}/drivers/{driver}/unbind")


def bind(machine, name, driver=TEST):
    """Give a driver to a function; its status."""
    return machine.run_status(f"echo {name} >{PCI}/drivers/{driver}/bind")[0]


def said(machine, name, text):
    """How often the log says something of a device, which it does."""
    words = f"{name}: {text}"
    machine.wait_for(re.escape(words))
    return machine.serial().count(words)


def pieces(machine, name):
    """What the example driver told the pieces of a function."""
    text = machine.run(f"od -A n -t u4 -j {PIECE_REGISTERS} -N 8 "
                       f"{PCI}/devices/{name}/config")
    return [int(word) for word in text.split()]


# The tables

def entries(machine, name):
    """{PASID: (type, page table)} of a function, from its PASID table."""
    found = {}
    for line in machine.run(f"cat {hardware.VTD}").splitlines():
        words = line.split()
        if len(words) > 4 and f"0000:{words[0]}" == name:
            entry = int(words[4].split(":")[2], 16)
            found[int(words[3])] = (
                hardware.PASID_TYPES[hardware.bits(entry, 8, 6)],
                entry & ~0xfff, hardware.bits(entry, 4, 2))
    return found


def page_of(machine, entry, address):
    """What an address is translated to by an entry's page table, or None."""
    _, table, width = entry
    # 1 means 39 bits and three levels, 2 means 48 bits and four.
    for level in reversed(range(width + 2)):
        index = address >> 12 + 9 * level & 0x1ff
        value = hardware.memory(machine, table + 8 * index)
        if not value & 3:
            return None
        table = hardware.bits(value, 51, 12) << 12
    return table


def mapped_at(number):
    """Where the test driver maps a domain's page."""
    return (number + 1) << 20


def leads_to(machine, name, numbers):
    """Whether the PASIDs of a function lead to these domains, and no other."""
    known, found = domains(machine), entries(machine, name)
    assert found.pop(0)[0] == "translated"
    for number in numbers:
        ident, page = known[number]
        entry = found.pop(ident)
        if entry[0] != "translated":
            return False
        for other in known:
            expected = page if other == number else None
            if page_of(machine, entry, mapped_at(other)) != expected:
                return False
    return not found


# Without PASIDs

def test_not_with_devices_without_pasids(plain):
    load(plain, TEST)
    found = capable(plain)
    assert {plain.device(name).full_address
            for name in ("edu0", "disk0", "port0")} <= set(found)
    assert not any(found.values())


@pytest.fixture(scope="module", name="machine")
def fixture_machine(boot, spec):
    if spec.arch != "x86_64":
        pytest.skip("the module with the bus is for x86")
    with boot("aux-domain", boot=[RESERVE]) as machine:
        present_bus(machine)
        yield machine


def test_not_without_pasids_in_the_iommu(machine):
    found = capable(machine)
    assert set(NAMES) <= set(found)
    if "pasids" not in machine.spec.cannot:
        pytest.skip("this IOMMU has PASIDs")
    assert not any(found.values())
    error = "Operation not supported" \
        if machine.spec.tables == "vtd" else "No such device"
    assert fails(machine, FIRST, "enable", error)


# As the IOMMU is

@pytest.mark.needs("pasids")
def test_as_many_as_the_iommu_says(machine):
    ecap = int(machine.run("cat /sys/class/iommu/dmar0/intel-iommu/ecap"), 16)
    room = min((2 << hardware.bits(ecap, 39, 35)) - 1, (1 << BITS[0]) - 1)
    do(machine, FIRST, "enable")
    attached = list(range(room))
    for number in attached:
        do(machine, FIRST, f"attach {number}")
    assert fails(machine, FIRST, f"attach {room}", "No space left on device")
    assert sorted(ident for ident, _ in domains(machine).values()
                  if ident > 0) == list(range(1, room + 1))
    assert leads_to(machine, FIRST, attached)
    do(machine, FIRST, *(f"detach {number}" for number in attached), "disable")
    assert leads_to(machine, FIRST, [])


# With more PASIDs than QEMU has a use for

@pytest.fixture(scope="module", name="roomy")
def fixture_roomy(boot):
    with boot("aux-domain-roomy", boot=[RESERVE]) as machine:
        present_bus(machine, "iommu_pasids=32768")
        yield machine


@pytest.mark.needs("pasids")
def test_capability(roomy):
    found = capable(roomy)
    assert [found.pop(name) for name in NAMES] == [True, True, True, False]
    assert not any(found.values())
    assert fails(roomy, ZERO, "enable", "Operation not supported")
    assert fails(roomy, FIRST, "attach 0", "Operation not permitted")


@pytest.mark.needs("pasids")
def test_each_domain_has_its_own_table(roomy):
    before = entries(roomy, FIRST)
    do(roomy, FIRST, "enable", *(f"attach {number}" for number in range(4)))
    assert [domains(roomy)[number][0] for number in range(4)] == [1, 2, 3, 4]
    assert leads_to(roomy, FIRST, range(4))
    found = entries(roomy, FIRST)
    assert found[0] == before[0]
    assert len({table for _, table, _ in found.values()}) == 5
    assert fails(roomy, FIRST, "attach 1", "Device or resource busy")

    do(roomy, FIRST, "detach 1")
    assert leads_to(roomy, FIRST, [0, 2, 3])
    do(roomy, FIRST, "detach 0", "detach 2", "detach 3")
    assert entries(roomy, FIRST) == before
    assert NOT_ATTACHED not in roomy.serial()
    do(roomy, FIRST, "detach 3", "disable")
    assert said(roomy, FIRST, NOT_ATTACHED) == 1


@pytest.mark.needs("pasids")
def test_one_domain_on_two_devices(roomy):
    do(roomy, SECOND, "enable", "attach 5")
    do(roomy, FIRST, "enable", "attach 6", "attach 5")
    assert leads_to(roomy, FIRST, [5, 6])
    assert leads_to(roomy, SECOND, [5])
    shared = domains(roomy)[5][0]
    assert entries(roomy, FIRST)[shared] == entries(roomy, SECOND)[shared]
    # The other one's number is too high for the third device.
    do(roomy, SMALL, "enable", "attach 5")
    assert fails(roomy, SMALL, "attach 6", "Value too large")
    assert leads_to(roomy, SMALL, [5])

    do(roomy, SECOND, "detach 5")
    assert leads_to(roomy, SECOND, [])
    assert leads_to(roomy, FIRST, [5, 6])
    do(roomy, FIRST, "detach 5", "detach 6", "disable")
    do(roomy, SMALL, "detach 5", "disable")
    do(roomy, SECOND, "disable")
    for name in (FIRST, SECOND, SMALL):
        assert leads_to(roomy, name, [])


@pytest.mark.needs("pasids")
def test_all_numbers_of_a_device(roomy):
    do(roomy, FIRST, "enable")
    roomy.run("for number in $(seq 0 254); do "
              f"echo attach $number >{FILES}/{FIRST}/command || exit; done")
    assert fails(roomy, FIRST, "attach 255", "No space left on device")
    found = entries(roomy, FIRST)
    assert sorted(found) == list(range(256))
    assert len({table for _, table, _ in found.values()}) == 256
    roomy.run("for number in $(seq 0 254); do "
              f"echo detach $number >{FILES}/{FIRST}/command || exit; done")
    assert leads_to(roomy, FIRST, [])
    roomy.run("for number in $(seq 0 255); do "
              f"echo free $number >{FILES}/{FIRST}/command || exit; done")
    do(roomy, FIRST, "disable")


@pytest.mark.needs("pasids")
def test_group_is_in_use_and_then_it_is_not(roomy):
    group = roomy.run(f"readlink -f {PCI}/devices/{FIRST}/iommu_group")
    do(roomy, FIRST, "enable", "attach 0")
    status, text = roomy.run_status(f"echo identity >{group}/type")
    assert status != 0 and "Operation not permitted" in text
    assert roomy.run(f"cat {group}/type") == roomy.spec.default_type
    do(roomy, FIRST, "attach 1")

    # The driver ends and leaves everything.
    assert LEFT.format(2) not in roomy.serial()
    unbind(roomy, FIRST)
    assert said(roomy, FIRST, LEFT.format(2)) == 1
    assert leads_to(roomy, FIRST, [])
    roomy.run(f"echo identity >{group}/type")
    assert entries(roomy, FIRST)[0][0] == "identity"
    roomy.run(f"echo auto >{group}/type")
    assert bind(roomy, FIRST) == 0
    do(roomy, FIRST, "enable", "attach 1", "detach 1", "disable",
       "free 0", "free 1")


@pytest.mark.needs("pasids")
def test_freed_domain_is_not_used_again(roomy):
    do(roomy, FIRST, "enable", "attach 0")
    ident, page = domains(roomy)[0]
    entry = entries(roomy, FIRST)[ident]
    do(roomy, FIRST, "free 0")
    roomy.wait_for(f"iommu: domain_free.* {LEAKED}$")
    do(roomy, FIRST, *(f"attach {number}" for number in range(1, 9)))
    assert entries(roomy, FIRST)[ident] == entry
    assert page_of(roomy, entry, mapped_at(0)) == page
    found = domains(roomy)
    assert ident not in {each for each, _ in found.values()}
    assert page not in {each for _, each in found.values()}

    unbind(roomy, FIRST)
    assert said(roomy, FIRST, LEFT.format(9)) == 1
    assert leads_to(roomy, FIRST, [])
    assert bind(roomy, FIRST) == 0
    do(roomy, FIRST, *(f"free {number}" for number in range(1, 9)))
    # One domain was leaked, rather than used again, with what belongs to it
    if roomy.kernel.config == "kasan":
        leaks = roomy.forget_leaks("command_write")
        assert sum(" paging_domain_alloc" in one for one in leaks) == 1


@pytest.mark.needs("pasids")
def test_removed_with_domains_attached(roomy):
    do(roomy, SECOND, "enable", "attach 0")
    do(roomy, FIRST, "enable", "attach 0")
    roomy.run(f"echo 1 >{PCI}/devices/{SECOND}/remove")
    assert said(roomy, SECOND, LEFT.format(1)) == 1
    assert entries(roomy, SECOND) == {}
    assert leads_to(roomy, FIRST, [0])
    do(roomy, FIRST, "detach 0", "free 0", "disable")
    roomy.run(f"echo 1 >{PCI}/rescan")
    do(roomy, SECOND, "enable", "attach 0", "detach 0", "free 0", "disable")


@pytest.mark.needs("pasids")
def test_example(roomy):
    for name in NAMES:
        unbind(roomy, name)
    load(roomy, EXAMPLE)
    used = []
    for name in (FIRST, SECOND):
        told, found = pieces(roomy, name), entries(roomy, name)
        assert sorted(found) == [0, *told]
        for piece, ident in enumerate(told):
            for other in range(2):
                page = page_of(roomy, found[ident], mapped_at(other))
                assert bool(page) == (piece == other)
        used += told
    assert used == [1, 2, 3, 4]
    # One device has not enough PASIDs, one has none that can be used.
    for name in (SMALL, ZERO):
        assert sorted(entries(roomy, name)) == [0]
    roomy.wait_for(f"{SMALL}: probe with driver {EXAMPLE} failed "
                   "with error -28$")
    roomy.wait_for(f"{ZERO}: .*No IOMMU keeps the pieces apart$")

    # With room for one piece, that one is stopped again.
    unbind(roomy, FIRST, EXAMPLE)
    assert bind(roomy, SMALL, EXAMPLE) != 0
    assert pieces(roomy, SMALL) == [0, 0]
    unbind(roomy, SECOND, EXAMPLE)
    for name in NAMES:
        assert sorted(entries(roomy, name)) == [0]
    assert pieces(roomy, FIRST) == pieces(roomy, SECOND) == [0, 0]
    assert f"{EXAMPLE} " + FIRST + ": Detached" not in roomy.serial()
    assert proofs.type_and_source(roomy, "edu0") == proofs.default(roomy)
