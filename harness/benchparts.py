# SPDX-License-Identifier: GPL-2.0
"""What ./lab bench measures: each part boots a machine and gives figures.

A figure is a number of instructions, counted as guest time of 2 ns each, or
a number of bytes. All of a part's figures are measured again in each repeat.
"""

import dataclasses
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from . import machinespec
from .kernel import Kernel
from .machine import Machine
from .machinespec import Device, Spec
from .say import LabError

# Guest time is a count of instructions, a wait for a timer takes no time of
# the host's, and nothing depends on the hour.
QEMU_OPTIONS = ["-icount", "shift=1,sleep=off",
                "-rtc", "base=2024-11-17,clock=vm"]
NS_PER_INSTRUCTION = 2
# Warnings still reach the console; what the IOMMU core says of each device
# does not, or a slow serial port would be measured.
# However many processors there could be, one works.
BOOT_WORDS = ["rdinit=/lab/bench-init", "loglevel=5", "norandmaps",
              "initramfs_async=0", "maxcpus=1"]

MACHINES = ("vtd", "amd", "virtio", "smmuv3")
# How many functions bus 0 has before any of ours
BUILT_IN = {"vtd": 4, "amd": 5, "virtio": 5, "smmuv3": 1}
# The slots below are for what a machine needs itself, the last is a q35's.
FIRST_SLOT, LAST_SLOT, PER_SLOT = 4, 0x1e, 8
# A stock kernel gives a group here only to a device that has a driver.
NEEDS_DRIVER = ("virtio", "smmuv3")
DRIVER_WORDS = ["pci-stub.ids=1234:11e8"]
# Where one initcall sets up the groups of a bus
PROBING, PROBED_AT_ONCE = "pci_iommu_init", ("vtd", "amd")
# How a machine is had without its IOMMU: by a word on the boot line, or by
# other words in QEMU's options
OFF_WORDS = {"vtd": ["intel_iommu=off"], "amd": ["amd_iommu=off"]}
OFF_OPTIONS = {"virtio": ("virtio-iommu-pci", "pci-testdev"),
               "smmuv3": (",iommu=smmuv3", "")}

FUNCTIONS = (16, 37, 64, 133, 213)
# Enough for the clock's interrupts, and for what comes only now and then, to
# be the same part of every repeat
ROUNDS, ROUNDS_OF_SHORT = 2048, 1 << 17
HOT_ADDED = 64
# Every eighth after the first makes a group, the others join one
HOT_ADD_SHOWN = (1, 2, 8, 9, 16, 24, 32, 40, 48, 56, 57, 64)
MEMORY_GROUPS = 24
TYPES = ("identity", "DMA", "DMA-FQ")
SIZES = {"4096": "4 KiB", "65536": "64 KiB", "1048576": "1 MiB"}
STEPS = ("alloc", "attach", "detach", "free")
# How a domain is allocated, and whether something was mapped in it
LIVES = {"paging": "paging", "paging-used": "paging, used",
         "user": "user", "user-used": "user, used"}
# Each round of these maps much memory.
ROUNDS_OF_USED = 256

FILES = "/sys/kernel/debug/lab_bench"
PARAMETERS = "/sys/module/lab_bench/parameters"
# Set when no machine is to be started any more
stopping = threading.Event()
INITCALL = re.compile(r"initcall (\w+)\+\S+(?: \[\w+\])? returned -?\d+ "
                      r"after (\d+) usecs")


@dataclass(frozen=True)
class Subject:
    """One kernel on one machine; who says which kernel it is."""

    who: str
    kernel: Kernel
    spec: Spec
    initrd: Path
    logs: Path

    def boot(self, name, devices, words=(), processors=1, iommu=True):
        """A machine whose guest time counts instructions."""
        if stopping.is_set():
            raise LabError("interrupted")
        spec = self.spec if iommu else without_iommu(self.spec)
        if not iommu:
            words = [*words, *OFF_WORDS.get(spec.name, ())]
        return Machine(
            self.kernel, self.logs / f"{name}.serial.log", spec,
            boot=[*BOOT_WORDS, *words], devices=devices,
            extra=[*QEMU_OPTIONS, "-smp", str(processors)],
            initrd=self.initrd)

    @property
    def has_parameter(self):
        """Whether one device's type can be chosen at boot."""
        return (self.kernel.tree / "drivers/pci/iommu-wish.c").is_file()

    @property
    def driver_words(self):
        """What every device's group needs on this machine to be there."""
        return DRIVER_WORDS if self.spec.name in NEEDS_DRIVER else []


def without_iommu(spec):
    """The machine without its IOMMU, as far as QEMU is told so."""
    old, new = OFF_OPTIONS.get(spec.name, ("", ""))
    return dataclasses.replace(spec, options=[
        word.replace(old, new) if old else word for word in spec.options])


# Devices

def edu(slot, function=0, **properties):
    """An edu device at a place on bus 0."""
    address = f"00:{slot:02x}.{function}"
    return Device(f"edu-{slot:02x}-{function}", "edu", address, properties)


def functions(number):
    """So many functions in slots that have eight each, until the last."""
    places = [(slot, function) for slot in range(FIRST_SLOT, LAST_SLOT + 1)
              for function in range(PER_SLOT)]
    if number > len(places):
        raise LabError(f"bus 0 has no room for {number} functions")
    return [edu(*place, multifunction="on") for place in places[:number]]


def single(number=1):
    """So many functions in a slot, and thus in a group, each."""
    return [edu(FIRST_SLOT + each) for each in range(number)]


def type_file(device):
    """The file that holds the type of a device's group."""
    return (f"/sys/bus/pci/devices/{device.full_address}"
            "/iommu_group/type")


# Reading what a guest says

def instructions(ns):
    """How many instructions take so much guest time."""
    return ns / NS_PER_INSTRUCTION


def measured(text):
    """{what: instructions of one round} of "<what> <ns> <rounds>" lines."""
    found = {}
    for line in text.splitlines():
        what, ns, rounds = line.split()
        found[what] = instructions(int(ns)) / int(rounds)
    return found


def initcalls(log):
    """{function: instructions} of what initcall_debug says; last one wins."""
    return {name: instructions(int(usecs) * 1000)
            for name, usecs in INITCALL.findall(log)}


def memory_state(text):
    """{kind: bytes} of the files that bench-memory shows for a type.

    "all" is what is not free. Pages that a processor keeps for itself count
    as free, which they do not in MemFree.
    """
    def field(pattern):
        return sum(int(each) for each in re.findall(pattern, text, re.M))

    slab = 0
    for line in re.findall(r"^[^#\s].* : slabdata .*$", text, re.M):
        active, _, size = (int(word) for word in line.split()[1:4])
        slab += active * size
    kept = field(r"^ +count: +(\d+)$")
    free = field(r"^MemFree: +(\d+) kB$") * 1024 + kept * 4096
    return {
        "all": field(r"^MemTotal: +(\d+) kB$") * 1024 - free,
        "slab objects": slab,
        "per-CPU pages": field(r"^Percpu: +(\d+) kB$") * 1024,
        "IOMMU pages": field(r"^nr_iommu_pages (\d+)$") * 4096,
    }


def read(machine, name, device=None, rounds=None):
    """What a file of the module measures, on a device."""
    if device:
        use_with(machine, device, rounds)
    return measured(machine.run(f"cat {FILES}/{name}"))


def use_with(machine, device, rounds):
    """What the files of the module are to work on, and how often."""
    machine.run(f"echo {device.full_address} >{PARAMETERS}/device && "
                f"echo {rounds} >{PARAMETERS}/rounds")


def cycle(machine, device, rounds, *steps):
    """{change: instructions} of a cycle of types, see bench-types.c."""
    text = machine.run(f"/lab/bench-types {type_file(device)} {rounds} "
                       + " ".join(steps))
    return {what.replace("-to-", " to "): value
            for what, value in measured(text).items()}


def set_type(machine, devices, kind):
    """Give the groups of devices a type."""
    machine.run(" && ".join(f"echo {kind} >{type_file(device)}"
                            for device in devices))


def whole_boot(machine):
    """Instructions until the first program has loaded the module."""
    return read(machine, "boot")["boot"]


# The parts: {figure: value} of a subject

def probe(subject):
    """Setting up the groups of a bus, by the number of its functions."""
    found = {}
    for number in FUNCTIONS:
        devices = functions(number - BUILT_IN[subject.spec.name])
        words = ["initcall_debug", *subject.driver_words]
        with subject.boot(f"{number}", devices, words) as machine:
            expect_functions(machine, number, len(devices))
            boot = whole_boot(machine)
            if subject.spec.name in PROBED_AT_ONCE:
                found[f"{number} functions, initcall"] = initcalls(
                    machine.run("dmesg"))[PROBING]
        with subject.boot(f"{number}-off", devices, words,
                          iommu=False) as machine:
            expect_no_groups(machine)
            off = whole_boot(machine)
        found[f"{number} functions, all steps"] = boot - off
        found[f"{number} functions, whole boot"] = boot
    return found


def expect_functions(machine, number, grouped):
    """LabError unless bus 0 has so many functions, enough of them in groups.
    """
    have, with_group = (
        int(machine.run(f"ls -d /sys/bus/pci/devices/{name} | wc -l"))
        for name in ("*/", "*/iommu_group"))
    if have != number or with_group < grouped:
        raise LabError(f"bus 0 has {have} functions, {with_group} of them in "
                       f"groups; there should be {number} and {grouped}\n"
                       f"  full log: {machine.log}")


def expect_no_groups(machine):
    """LabError if there is an IOMMU after all."""
    groups = machine.run("ls /sys/kernel/iommu_groups").split()
    if groups:
        raise LabError(f"without an IOMMU there are groups {groups}\n"
                       f"  full log: {machine.log}")


def expect_type(machine, device, kind):
    """LabError unless the device's group has this type."""
    found = machine.run(f"cat {type_file(device)}").strip()
    if found != kind:
        raise LabError(f"the group's type is {found}, not {kind}\n"
                       f"  full log: {machine.log}")


def ordinal(number):
    """1st, 2nd, 3rd, 11th."""
    ends = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}" + ("th" if number // 10 % 10 == 1
                          else ends.get(number % 10, "th"))


def hot_add(subject):
    """Functions added one by one to a bus that had none."""
    with subject.boot("hot-add", functions(HOT_ADDED),
                      subject.driver_words) as machine:
        times = read(machine, "hot_add")
    if len(times) != HOT_ADDED:
        raise LabError(f"{len(times)} functions were added\n"
                       f"  full log: {machine.log}")
    return {f"all {HOT_ADDED}": sum(times.values()),
            **{ordinal(each): times[str(each)] for each in HOT_ADD_SHOWN}}


def domain(subject):
    """A paging domain's life, through each allocator."""
    device, = single()
    with subject.boot("domain", [device], subject.driver_words) as machine:
        times = read(machine, "domain", device, ROUNDS)
    found = {}
    for life, shown in LIVES.items():
        steps = {step: times.get(f"{life}-{step}") for step in STEPS}
        if None not in steps.values():
            found.update({f"{shown}, {step}": value
                          for step, value in steps.items()})
            found[f"{shown}, all"] = sum(steps.values())
    return found


def changes(subject, processors=1):
    """Each change of an unbound group's type, the mean of many.

    From a domain in which nothing was ever mapped, and from a used one. A
    change to DMA-FQ from a domain that never had a flush queue is the first.
    """
    device, = single()
    found = {}
    with subject.boot("changes", [device], processors=processors) as machine:
        for types in (("identity", "DMA"), ("DMA", "DMA-FQ"),
                      ("DMA-FQ", "identity")):
            found.update(cycle(machine, device, ROUNDS, *types))
        found["DMA to DMA-FQ, first"] = cycle(
            machine, device, ROUNDS, "identity", "DMA", "DMA-FQ")[
                "DMA to DMA-FQ"]
        use_with(machine, device, 1)
        for kind in TYPES[1:]:
            found[f"{kind} to identity, used"] = cycle(
                machine, device, ROUNDS_OF_USED, "identity", kind,
                f"{FILES}/map")[f"{kind} to identity"]
    return found


def changes_4_cpus(subject):
    """The same where four processors are possible, of which one is there."""
    return changes(subject, 4)


def mapping(machine, device, how):
    """{figure: value} of map and unmap, in the mode that holds now."""
    rounds = ROUNDS if how in ("strict", "lazy") else ROUNDS_OF_SHORT
    return {f"{SIZES[size]}, {how}": value for size, value
            in read(machine, "map", device, rounds).items()}


def dma_map(subject):
    """Map and unmap of memory for DMA, in every mode."""
    device, = single()
    found = {}
    with subject.boot("types", [device]) as machine:
        for kind, how in (("DMA", "strict"), ("DMA-FQ", "lazy"),
                          ("identity", "identity by type")):
            set_type(machine, [device], kind)
            found.update(mapping(machine, device, how))
    word = f"pci=iommu_passthrough={device.full_address}" \
        if subject.has_parameter else "iommu=pt"
    with subject.boot("identity", [device], [word]) as machine:
        expect_type(machine, device, "identity")
        found.update(mapping(machine, device, "identity at boot"))
    with subject.boot("off", [device], iommu=False) as machine:
        expect_no_groups(machine)
        found.update(mapping(machine, device, "IOMMU off"))
    return found


def chosen(subject):
    """Identity for one device: chosen at boot, or changed afterwards."""
    device, = single()
    found = {}
    words = ["initcall_debug"]
    with subject.boot("default", [device], words) as machine:
        boot = whole_boot(machine)
        probing = initcalls(machine.run("dmesg"))[PROBING]
        change = cycle(machine, device, 1, "identity")["DMA-FQ to identity"]
    found["boot, then changed"] = boot + change
    found["group probe, then changed"] = probing + change
    if subject.has_parameter:
        words.append(f"pci=iommu_passthrough={device.full_address}")
        with subject.boot("parameter", [device], words) as machine:
            found["boot, by parameter"] = whole_boot(machine)
            found["group probe, by parameter"] = initcalls(
                machine.run("dmesg"))[PROBING]
    return found


def memory(subject, processors=1):
    """What a group's default domain takes, the mean of many groups.

    The last one is what it takes when it was lazy before.

    Per-CPU memory that was freed is mostly kept for later, so no group may
    have had such a domain before.
    """
    devices = single(MEMORY_GROUPS)
    with subject.boot("memory", devices, ["iommu=pt"],
                      processors) as machine:
        # The first only has everything warm.
        output = machine.run(" ".join(
            ["/lab/bench-memory", "identity", *TYPES, "DMA", "--",
             *map(type_file, devices)]))
    states = [memory_state(text) for text
              in re.split(r"^type .*\n", output, flags=re.M)[2:]]
    found = {}
    for before, after, what in ((0, 1, "identity to DMA"),
                                (1, 2, "DMA to DMA-FQ"),
                                (0, 3, "identity to DMA by way of DMA-FQ")):
        for kind, value in states[after].items():
            found[f"{what}, {kind}"] = (
                value - states[before][kind]) / MEMORY_GROUPS
    return found


def memory_4_cpus(subject):
    """The same where four processors are possible, of which one is there."""
    return memory(subject, 4)


@dataclass(frozen=True)
class Part:
    """Figures that are measured together, on each of some machines."""

    name: str
    measure: Callable
    machines: tuple = ("vtd",)
    unit: str = "instructions"


PARTS = (
    Part("probe", probe, MACHINES),
    Part("hot-add", hot_add, MACHINES),
    Part("domain", domain, MACHINES),
    Part("changes", changes),
    Part("changes-4-cpus", changes_4_cpus),
    Part("map", dma_map),
    Part("chosen", chosen),
    Part("memory", memory, unit="bytes"),
    Part("memory-4-cpus", memory_4_cpus, unit="bytes"),
)


def selected(word=None):
    """[(part, machine)] whose name "machine/part" contains a word."""
    found = [(part, machine) for machine in MACHINES for part in PARTS
             if machine in part.machines
             and (word or "") in f"{machine}/{part.name}"]
    if not found:
        raise LabError(f"nothing is called like {word}; there are: "
                       + ", ".join(f"{machine}/{part.name}"
                                   for part, machine in selected()))
    return found


def measure(part, subject):
    """{"machine/part/figure": value} of one repeat of a part."""
    logs = subject.logs / f"{subject.spec.name}-{part.name}-{subject.who}"
    subject = dataclasses.replace(subject, logs=logs)
    return {f"{subject.spec.name}/{part.name}/{what}": value
            for what, value in part.measure(subject).items()}


def spec_of(machine):
    """The machine's entry in machines.toml."""
    return machinespec.spec(machine)
