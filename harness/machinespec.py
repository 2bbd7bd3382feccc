# SPDX-License-Identifier: GPL-2.0
"""What a machine is made of: machines.toml as QEMU and boot options."""

import tomllib
from dataclasses import dataclass, field

from . import settings
from .say import LabError

DATA = settings.HARNESS / "machines.toml"
DEFAULT = "vtd"

# Emulation is slow on a loaded host; only a guest that really hangs may
# trip the stall detector.
COMMON_KERNEL_OPTIONS = ["panic=-1", "rcupdate.rcu_cpu_stall_timeout=120"]
COMMON_QEMU_OPTIONS = ["-nodefaults", "-no-user-config", "-display", "none",
                       "-no-reboot", "-smp", "2", "-m", "512M"]


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

    def qemu_options(self, devices, images, accel="tcg"):
        """All options but the kernel and what the chardevs connect to."""
        words = [self.qemu, *COMMON_QEMU_OPTIONS]
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


def spec(name=DEFAULT):
    """The machine called name."""
    with open(DATA, "rb") as file:
        data = tomllib.load(file)
    entry = data["machine"].get(name)
    if entry is None:
        raise LabError(f"no machine is called {name}; there are: "
                       + ", ".join(sorted(data["machine"])))
    entry["devices"] = [Device(**device)
                        for device in data["devices"][entry["devices"]]]
    return Spec(name=name, **entry)


def make_images(devices, folder):
    """A sparse image for every disk; each begins with its disk's name."""
    for device in devices:
        if device.disk_mib:
            with open(folder / f"{device.name}.img", "wb") as image:
                image.write(f"disk {device.name}\n".encode())
                image.truncate(device.disk_mib << 20)
