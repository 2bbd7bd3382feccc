# SPDX-License-Identifier: GPL-2.0
"""Every allocation and every attach of a change of type fails once.

The work is done by the selftest group_faults, for a device alone in its group
and for two that share one. Here is looked at what is left behind.
"""

import re

import pytest

from harness import proofs, selftests

pytestmark = pytest.mark.needs("identity-to-dma")

PROGRAM = "group_faults"
PAIR = proofs.edu_pair()
SECONDS = 7200
FIGURE = re.compile(r"(\d+) failures of (\d+) devices")


@pytest.fixture(scope="module", name="machine")
def fixture_machine(kernel, boot, spec):
    """A machine with edu devices, some of which share a group."""
    devices = [device for device in spec.devices if device.model == "edu"]
    programs = selftests.build(kernel, [PROGRAM])
    with boot("failures", devices=[*devices, *PAIR],
              programs=programs) as machine:
        proofs.load_edu_driver(machine)
        for device in (*devices, *PAIR):
            proofs.set_driver(machine, device.name, "unbind")
        yield machine


def groups(machine):
    """What a test has to leave as it was."""
    return [(group.number, group.type, group.source, group.devices)
            for group in machine.groups()]


def test_each_step_fails(machine, request, record_property):
    before = groups(machine)
    each = "GROUP_FAULTS_EACH=1 " if request.config.getoption("--long") else ""
    status, text = machine.run_status(f"{each}/lab/{PROGRAM}", SECONDS)
    for figure in selftests.figures(text):
        record_property("figure", figure)
    counts = selftests.parse(PROGRAM, text)
    assert counts.failed == 0 and status == 0, text
    # Some change was made to fail, and with two devices as well.
    tried = {int(devices) for failures, devices in FIGURE.findall(text)
             if int(failures)}
    assert tried == {1, 2}, text
    assert groups(machine) == before
    for name in ("edu0", "pair0", "pair1"):
        assert proofs.set_driver(machine, name, "bind")[0] == 0
        edu = proofs.Edu(machine, name)
        edu.stream(0x5555666677778888)
        assert edu.victim_value == 0x5555666677778888
