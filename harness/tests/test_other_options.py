# SPDX-License-Identifier: GPL-2.0
"""The options that took PCI devices before ours, with old and new strings."""

import pytest

from harness import hardware

# The ACS control register as the kernel sets it with an IOMMU. A bit that an
# option does not name is then as firmware left it, which is 0 here.
USUAL = 0b11101
ACS = 0x0d
MIB = 1 << 20
BOOT = [
    "pci=disable_acs_redir=00:1f.7;class:060400",
    "pci=config_acs=1xxx1@pci:1b36:ffff;10xx1@00:09.0",
    "pci=resource_alignment=24@00:06.0;25@class:00ff",
]


@pytest.fixture(scope="module")
def tuned(boot):
    """Old strings name port1 and edu0, new ones both ports and both edu."""
    with boot("other-options", boot=BOOT) as machine:
        yield machine


def acs_control(machine, name):
    """The ACS control register of a device, from its configuration space."""
    capability = hardware.extended_capability(machine, name, ACS)
    return int.from_bytes(capability[6:8], "little")


def start_of(machine, name):
    """Where a device's first region begins."""
    path = machine.device(name).full_address
    line = machine.run(f"head -n 1 /sys/bus/pci/devices/{path}/resource")
    return int(line.split()[0], 16)


def test_usual(plain):
    for name in ("port0", "port1"):
        assert acs_control(plain, name) == USUAL
    assert start_of(plain, "edu0") % (16 * MIB) \
        or start_of(plain, "edu1") % (32 * MIB)


@pytest.mark.parametrize("port, control", [("port0", 0), ("port1", 0b10001)])
def test_acs_options(tuned, port, control):
    assert acs_control(tuned, port) == control


@pytest.mark.parametrize("edu, mib", [("edu0", 16), ("edu1", 32)])
def test_resource_alignment(tuned, edu, mib):
    start = start_of(tuned, edu)
    assert start and start % (mib * MIB) == 0


def test_nothing_is_complained_of(tuned):
    assert "Can't parse" not in tuned.serial()
    assert "Unknown option" not in tuned.serial()
    assert {group.source for group in tuned.groups()} == {"default"}
