# SPDX-License-Identifier: GPL-2.0
"""A group is in use for as long as a driver's memory is mapped there.

The module edu_managed_test has DMA memory that the driver core releases after
the driver is gone, and can make it wait before it does.
"""

import pytest

from harness import proofs

DRIVER = "edu_managed_test"
PARAMETERS = f"/sys/module/{DRIVER}/parameters"


@pytest.fixture(scope="module", name="machine")
def fixture_machine(plain):
    """A machine with the driver."""
    plain.run(f"[ -d {PARAMETERS} ] || insmod /lab/{DRIVER}.ko")
    return plain


def set_parameter(machine, name, value):
    """Write one of the driver's parameters."""
    machine.run(f"echo {value} >{PARAMETERS}/{name}")


def choose(machine, name, driver=""):
    """Only this driver can be bound to a device; without one, any."""
    address = machine.device(name).full_address
    machine.run(f"echo '{driver}' "
                f">/sys/bus/pci/devices/{address}/driver_override")


def start(machine, name, action):
    """Bind or unbind, up to where the memory is about to be released."""
    address = machine.device(name).full_address
    machine.run(
        "rm -f /run/status; "
        f"(echo {address} >/sys/bus/pci/drivers/{DRIVER}/{action}; "
        "echo $? >/run/status) >/run/none 2>&1 & "
        f"while ! grep -q Y {PARAMETERS}/holding; do "
        "[ ! -s /run/status ] || exit 1; sleep 0.1; done")


def write_type(machine, name, kind):
    """(status, output) of writing a group's type."""
    return machine.run_status(f"echo {kind} >/sys/kernel/iommu_groups/"
                              f"{machine.group_of(name).number}/type")


def is_refused(machine, name, kind):
    """The group is said to be in use, and is as it was."""
    group = machine.group_of(name)
    status, text = write_type(machine, name, kind)
    assert status != 0 and "Operation not permitted" in text
    assert machine.group_of(name) == group
    assert machine.wait_for(
        rf"{machine.device(name).full_address}: Type of iommu group "
        rf"{group.number} not changed: \w+")


def finish(machine):
    """Let the memory go, and wait until that is done."""
    set_parameter(machine, "hold", "N")
    machine.run("while ! [ -s /run/status ]; do sleep 0.1; done")


@pytest.mark.parametrize("kind", ["identity", "auto"])
def test_unbind(machine, kind):
    set_parameter(machine, "hold", "N")
    choose(machine, "edu0", DRIVER)
    proofs.set_driver(machine, "edu0", "bind", DRIVER)
    is_refused(machine, "edu0", kind)
    set_parameter(machine, "hold", "Y")
    start(machine, "edu0", "unbind")
    is_refused(machine, "edu0", kind)
    finish(machine)
    assert write_type(machine, "edu0", "identity")[0] == 0
    assert write_type(machine, "edu0", "auto")[0] == 0
    choose(machine, "edu0")


def test_failed_probe(machine):
    set_parameter(machine, "refuse", "Y")
    set_parameter(machine, "hold", "Y")
    choose(machine, "edu1", DRIVER)
    start(machine, "edu1", "bind")
    is_refused(machine, "edu1", "identity")
    finish(machine)
    assert machine.run("cat /run/status") != "0"
    assert write_type(machine, "edu1", "identity")[0] == 0
    assert write_type(machine, "edu1", "auto")[0] == 0
    set_parameter(machine, "refuse", "N")
    choose(machine, "edu1")
