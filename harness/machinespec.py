# SPDX-License-Identifier: GPL-2.0
"""What a machine is made of: machines.toml as QEMU and boot options."""

import functools
import tomllib
from dataclasses import dataclass, field

from . import settings
from .say import LabError

DATA = settings.HARNESS / "machines.toml"
DEFAULT = "vtd"

# What a test can need and not every machine has
FEATURES = {
    "tables": "the IOMMU's tables can be read",
    "acpi": "firmware is ACPI, to which a table can be added",
    "aperture-end": "addresses that no domain has",
    "boot-bus": "a device that is behind a port at boot can do DMA",
    "chipset": "a q35's functions on 00:1f",
    "conventional": "a device behind a bridge to conventional PCI has a group",
    "debian-root": "a disk with Debian, which is tried on one machine",
    "hotplug": "devices come and go while it runs",
    "identity-to-dma": "a disk works after a change from identity",
    "kdump": "a crash kernel finds translation enabled, and can go on",
    "low-memory": "memory that 28 bits address, and other memory",
    "pasids": "tables for PASIDs, which the kernel shows",
    "reference": "the stock kernel's groups are in harness/reference",
    "sriov": "virtual functions",
    "stale-translations": "a cache of the IOMMU outlives an unmap",
    "user-dma": "user space can drive devices, and what is blocked is said",
    "vtd-options": "an IOMMU that QEMU's options of VT-d are for",
    "vdpa": "a virtio device that is behind the IOMMU",
}

# Emulation is slow on a loaded host; only a guest that really hangs may
# trip the stall detector.
COMMON_KERNEL_OPTIONS = ["panic=-1", "rcupdate.rcu_cpu_stall_timeout=120"]
COMMON_QEMU_OPTIONS = ["-nodefaults", "-no-user-config", "-display", "none",
                       "-no-reboot", "-smp", "2"]


@dataclass(frozen=True)
class Device:
    """A PCI device; disk_mib gives it a disk image.

    bus is the QEMU name of a bus, which is that of the port above it; its
    number in address is the one that the guest gives it.
    """

    name: str
    model: str
    address: str
    properties: dict = field(default_factory=dict)
    disk_mib: int = 0
    bus: str = "pcie.0"

    @property
    def full_address(self):
        """The address with its PCI domain, as the guest's sysfs writes it."""
        return f"0000:{self.address}"

    def arguments(self):
        """What QEMU is told about it, on its command line or later."""
        return {"id": self.name, "bus": self.bus,
                "addr": self.address.split(":")[1], **self.properties}

    def options(self, images=None):
        """QEMU options; images is the folder that holds disk images."""
        words = [self.model]
        words += [f"{key}={value}" for key, value in self.arguments().items()]
        if not self.disk_mib:
            return ["-device", ",".join(words)]
        words += [f"drive={self.name}-image", f"serial={self.name}"]
        # A comma in a value is doubled in QEMU's option syntax.
        image = str(images / f"{self.name}.img").replace(",", ",,")
        return ["-drive", f"id={self.name}-image,if=none,format=raw,"
                          f"file={image}",
                "-device", ",".join(words)]


@dataclass(frozen=True)
class Spec:
    """One entry of machines.toml."""

    name: str
    title: str
    qemu: str
    arch: str
    options: list
    kernel_options: list
    console: str
    agent: str
    devices: list
    default_type: str
    fault: str
    tables: str = ""
    trace: list = field(default_factory=list)
    trace_fault: str = ""
    silent_without_domain: bool = False
    slots_by_hand: bool = False
    only_in_all: bool = False
    under_kasan: bool = False
    cannot: dict = field(default_factory=dict)

    def qemu_options(self, devices, images, memory, accel="tcg"):
        """All options but the kernel and what the chardevs connect to.

        memory is in MiB.
        """
        words = [self.qemu, *COMMON_QEMU_OPTIONS, "-m", f"{memory}M"]
        if accel:
            words += ["-accel", accel]
        words += self.options
        for device in devices:
            words += device.options(images)
        return words

    def boot_line(self, words=()):
        """The kernel's command line with the given words added."""
        return " ".join([f"console={self.console}", *COMMON_KERNEL_OPTIONS,
                         *self.kernel_options, *words])


@functools.lru_cache(maxsize=None)
def _data():
    with open(DATA, "rb") as file:
        return tomllib.load(file)


def names():
    """The names of all machines, in the order of the file."""
    return list(_data()["machine"])


def chosen(machine=None, everything=False):
    """The names of the machines of a run: one, all, or all that are quick."""
    if machine:
        return [machine]
    return [name for name in names()
            if everything or not spec(name).only_in_all]


def spec(name=DEFAULT):
    """The machine called name."""
    data = _data()
    if name not in data["machine"]:
        raise LabError(f"no machine is called {name}; there are: "
                       + ", ".join(names()))
    entry = dict(data["machine"][name])
    entry["devices"] = [Device(**device)
                        for device in data["devices"][entry["devices"]]]
    unknown = set(entry.get("cannot", ())) - set(FEATURES)
    if unknown:
        raise LabError(f"{DATA.name}: {name} cannot {', '.join(unknown)}, "
                       "which is no feature: " + ", ".join(FEATURES))
    return Spec(name=name, **entry)


def specs(chosen=None):
    """The machines of these names, or all."""
    return [spec(name) for name in chosen or names()]


def make_images(devices, folder):
    """A sparse image for every disk; each begins with its disk's name."""
    for device in devices:
        if device.disk_mib:
            with open(folder / f"{device.name}.img", "wb") as image:
                image.write(f"disk {device.name}\n".encode())
                image.truncate(device.disk_mib << 20)
