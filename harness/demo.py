# SPDX-License-Identifier: GPL-2.0
"""./lab demo: what the series does, seen on one machine in one boot."""

import time

from . import kernel as kernels
from . import machinespec, packages, proofs
from .machine import Machine, run_logs
from .say import LabError, say

BOOT_OPTION = "pci=iommu_passthrough=00:04.0;00:07.0"
SEED = 7000000

YOUR_KERNEL = """\
For your own kernel
  ./lab apply DIR      puts the series on a 6.12 tree; make bindeb-pkg there
  boot line            pci=iommu_passthrough=0000:01:00.0;0000:02:00.0
  what came of it      dmesg | grep 'Wish for'
                       grep . /sys/kernel/iommu_groups/*/type*"""


def headline(text):
    """A line that begins a part."""
    say()
    say(f"== {text}")


def expect(machine, what, holds):
    """Say what was seen; LabError if it was not."""
    if not holds:
        raise LabError(f"the demo expected: {what}\n"
                       f"  full log: {machine.log}")
    say(f"  {what}")


def show_groups(machine):
    """The table of groups."""
    form = "  {:>5}  {:14}{:12}{:10}{}"
    say(form.format("group", "device", "driver", "type", "source"))
    for group in machine.groups():
        for device, driver in sorted(group.devices.items()):
            say(form.format(group.number, device, driver or "-", group.type,
                            group.source or "-"))


def show_wishes(machine):
    """The kernel's own lines about the wishes."""
    for line in machine.serial().splitlines():
        if "Wish for" in line:
            say("  " + line)


def shown_type(machine, name):
    """A device's type as the IOMMU's tables, or else the kernel, say it."""
    kind = proofs.hardware_type(machine, name)
    return f"{kind} in the IOMMU's tables" if kind \
        else machine.group_of(name).type


def show_disks(machine):
    """Both disks work, whatever their type; the hardware agrees."""
    for name, seed in (("disk0", 0), ("disk1", SEED)):
        proofs.write_data(machine, name, seed)
        expect(machine,
               f"{name} {machine.device(name).address} "
               f"({shown_type(machine, name)}): {proofs.DATA_MIB} MiB "
               "written, read back, same SHA-256",
               proofs.read_sum(machine, name) == proofs.data_sum(seed))


def show_isolation(machine):
    """One device is held by the IOMMU, the other is not."""
    edu0, edu1 = (proofs.Edu(machine, name) for name in ("edu0", "edu1"))
    first, second = (f"{name} ({machine.group_of(name).type})"
                     for name in ("edu0", "edu1"))
    mapped, victim = edu0.mapped_address, edu0.victim_address
    edu0.write(mapped, 0x1111)
    expect(machine,
           f"{first} writes to {mapped:#x}, mapped for it: arrives",
           edu0.mapped_value == 0x1111)
    before = edu0.victim_value
    machine.expect_fault("edu0", victim)
    edu0.write(victim, 0x2222)
    fault = machine.wait_for_fault("edu0", victim)
    expect(machine,
           f"{first} writes to {victim:#x}, not mapped: blocked",
           edu0.victim_value == before)
    for line in fault:
        say("    " + line)
    edu1.write(victim, 0x3333)
    expect(machine, f"{second} writes to the same {victim:#x}: arrives",
           edu0.victim_value == 0x3333)


def show_switch(machine):
    """A group's type is changed and changed back, the data stay."""
    why_not = machine.spec.cannot.get("identity-to-dma")
    if why_not:
        say(f"  not shown here: {why_not}")
        return
    number = machine.group_of("disk1").number
    for kind in ("identity", "auto"):
        if proofs.set_type(machine, "disk1", kind):
            raise LabError(f"the kernel refused {kind} for group {number}")
        group = machine.group_of("disk1")
        expect(machine,
               f"echo {kind} > iommu_groups/{number}/type: now {group.type}, "
               f"source {group.source}, same SHA-256 over the data",
               proofs.read_sum(machine, "disk1") == proofs.data_sum(SEED))


def run(name=machinespec.DEFAULT, kernel=None):
    """The whole demo."""
    spec = machinespec.spec(name)
    packages.need("machine", f"machine-{spec.arch}")
    kernel = kernel or kernels.build("test", spec.arch)
    log = run_logs("demo") / "demo.serial.log"
    begin = time.monotonic()
    with Machine(kernel, log, spec, boot=[BOOT_OPTION]) as machine:
        headline(f"Linux {machine.run('uname -r')} on {machine.spec.title}, "
                 f"booted with {BOOT_OPTION}")
        show_groups(machine)
        headline("What the kernel says about the wishes")
        show_wishes(machine)
        headline("Two disks, one bypasses the IOMMU")
        show_disks(machine)
        headline("What a device can reach")
        show_isolation(machine)
        headline("Another type at runtime, and back")
        show_switch(machine)
    say()
    say(f"Seen in {time.monotonic() - begin:.0f} s without a warning in the "
        f"kernel's log: {log}")
    headline(YOUR_KERNEL)
    return 0
