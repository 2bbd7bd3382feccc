# SPDX-License-Identifier: GPL-2.0
"""vhost-vdpa allocates its domain from the device that it is for.

A virtio network device behind the IOMMU is given to user space by vp_vdpa and
vhost-vdpa. The selftest vdpa_domain is the user; probes and tracepoints show
what became of the domains meanwhile.
"""

import re
from collections import Counter

import pytest

from harness import machinespec, selftests

pytestmark = pytest.mark.needs("vdpa")

# The function from which vhost-vdpa has its domain.
ALLOCATE = "iommu_user_domain_alloc"

NET = machinespec.Device("net0", "virtio-net-pci", "00:0a.0",
                         {"disable-legacy": "on", "iommu_platform": "on",
                          "romfile": ""})
NODE = "/dev/vhost-vdpa-0"
PROGRAM = "vdpa_domain"
# Where the program maps; as in vdpa_domain.c.
IOVA = range(0x10000000, 0x10010000)
OPENER = f"exec 3<>{NODE}; exec 3<&-"

TRACING = "/sys/kernel/debug/tracing"
PROBES = {
    # The name of the device is the first member of struct device.
    "asked": f"p:lab/asked {ALLOCATE} device=+0(+0($arg1)):string",
    "allocated": f"r:lab/allocated {ALLOCATE} domain=$retval:x64",
    "freed": "p:lab/freed iommu_domain_free domain=$arg1:x64",
}
EVENTS = ("lab", "iommu/attach_device_to_domain", "iommu/map", "iommu/unmap")
EVENT = re.compile(r"\d: (\w+): (?:\(.*?\) )?(?:IOMMU: )?(.*)$")


class Trace:
    """What happened to domains between `with` and its end."""

    def __init__(self, machine):
        self.machine = machine
        self.events = []

    def __enter__(self):
        self._switch(1)
        return self

    def __exit__(self, kind, value, traceback):
        self._switch(0)
        for line in self.machine.run(f"cat {TRACING}/trace").splitlines():
            event = EVENT.search(line)
            if event:
                self.events.append((event[1], event[2]))
        self.machine.run(f"echo >{TRACING}/trace")

    def _switch(self, value):
        self.machine.run("".join(
            f"echo {value} >{TRACING}/events/{each}/enable\n"
            for each in EVENTS))

    def of(self, name, pattern=r"(.*)"):
        """What the pattern's group is in each event of a name."""
        found = [re.search(pattern, text) for kind, text in self.events
                 if kind == name]
        return [match[1] for match in found if match]

    def mapped(self, name):
        """How often each page of the program is in events of a name."""
        pages = Counter()
        for kind, text in self.events:
            words = re.match(r"iova=(\w+) - (\w+) ", text)
            if kind == name and words:
                first, end = (int(word, 16) for word in words.groups())
                if first in IOVA:
                    pages.update(range(first, end, 4096))
        return pages


@pytest.fixture(name="vdpa", scope="module")
def fixture_vdpa(kernel, boot, spec):
    """A machine with the node of a vDPA device, and the probes."""
    built = selftests.build(kernel, [PROGRAM])
    with boot("vdpa", devices=[*spec.devices, NET],
              programs=built) as machine:
        address = NET.full_address
        device = f"/sys/bus/pci/devices/{address}"
        machine.run(f"[ ! -e {device}/driver ] || "
                    f"echo {address} >{device}/driver/unbind; "
                    f"echo vp-vdpa >{device}/driver_override && "
                    f"echo {address} >/sys/bus/pci/drivers_probe && "
                    f"/lab/add-vdpa-device lab0 pci {address} && "
                    f"[ -c {NODE} ]")
        for probe in PROBES.values():
            machine.run(f"echo '{probe}' >>{TRACING}/kprobe_events")
        yield machine


@pytest.fixture(name="trace", scope="module")
def fixture_trace(vdpa):
    """What happens while the program runs, after it has passed."""
    with Trace(vdpa) as trace:
        counts = selftests.run_program(vdpa, PROGRAM)
    assert counts.passed and not counts.failed
    assert counts.skipped == ("aperture-end" in vdpa.spec.cannot)
    return trace


def test_one_domain_for_each_opening(vdpa):
    with Trace(vdpa) as trace:
        vdpa.run(OPENER)
    assert trace.of("asked") == [f'device="{NET.full_address}"']
    domain, = trace.of("allocated", r"domain=0x(\w+)")
    assert int(domain, 16) > 1 << 63
    assert trace.of("freed", r"domain=0x(\w+)") == [domain]
    assert trace.of("attach_device_to_domain")[0] == (
        f"device={NET.full_address}")


def test_each_domain_is_for_the_device_and_freed(trace):
    asked = trace.of("asked", r'device="(.*)"')
    assert len(asked) > 1 and set(asked) == {NET.full_address}
    domains = trace.of("allocated", r"domain=0x(\w+)")
    assert len(domains) == len(asked)
    # They may be freed with others, but none less or more often.
    freed = Counter(trace.of("freed", r"domain=0x(\w+)"))
    assert not Counter(domains) - freed


def test_what_is_mapped_is_unmapped(trace):
    mapped = trace.mapped("map")
    assert set(mapped) == set(range(IOVA.start, IOVA.stop, 4096))
    assert mapped == trace.mapped("unmap")


def test_group_has_its_default_domain_again(vdpa, trace):
    assert trace.events
    assert vdpa.group_of("net0").type == vdpa.spec.default_type
    vdpa.run(f"echo {NET.full_address} >/sys/bus/pci/drivers/vp-vdpa/unbind "
             f"&& ! [ -e {NODE} ]")
