# SPDX-License-Identifier: GPL-2.0
"""What the tests and the demo both show on a running machine."""

import functools
import hashlib

from . import hardware, machinespec

DATA_MIB = 16
# The data are numbered records, so that one in the wrong place shows.
RECORD = 1024
RECORDS = (DATA_MIB << 20) // RECORD
WRITER = f"""BEGIN {{
    for (n = 0; n < {RECORDS}; n++) printf "%{RECORD - 1}d\\n", seed + n
}}"""

EDU_FILES = "/sys/kernel/debug/edu_dma_test"


@functools.lru_cache(maxsize=None)
def data_sum(seed):
    """The checksum of what write_data() with this seed puts on a disk."""
    total = hashlib.sha256()
    for number in range(RECORDS):
        total.update(f"{seed + number:{RECORD - 1}d}\n".encode())
    return total.hexdigest()


def write_data(machine, name, seed):
    """Write 16 MiB of known data on a disk, past the page cache."""
    machine.run(f"awk -v seed={seed} '{WRITER}' | dd bs=1M seek=1 "
                f"iflag=fullblock oflag=direct of={machine.disk(name)}")


def read_sum(machine, name):
    """The checksum of the 16 MiB that the disk itself gives back."""
    return machine.run("echo 3 >/proc/sys/vm/drop_caches; "
                       f"dd bs=1M skip=1 count={DATA_MIB} iflag=direct "
                       f"if={machine.disk(name)} 2>&- | sha256sum").split()[0]


def hardware_type(machine, name):
    """What the IOMMU's tables say of a device; None if nobody can see."""
    read = hardware.READERS.get(machine.spec.tables)
    return read and read(machine, machine.device(name).address)


def hardware_is(machine, name, kind):
    """Whether the IOMMU's tables, if they can be seen, say this."""
    return hardware_type(machine, name) in (kind, None)


def page_table(machine, name):
    """The address of the page table in a device's VT-d context entry."""
    address = machine.device(name).address
    for line in machine.run(f"cat {hardware.VTD}").splitlines():
        words = line.split()
        if words and words[0] == address:
            return int(words[2].split(":")[1], 16) & ~0xfff
    return None


def set_type(machine, name, kind):
    """Write a group's type, its device unbound meanwhile; the status."""
    group = machine.group_of(name)
    address = machine.device(name).full_address
    driver = group.devices[address]
    if driver:
        machine.run(f"echo {address} >/sys/bus/pci/drivers/{driver}/unbind")
    status, _ = machine.run_status(
        f"echo {kind} >/sys/kernel/iommu_groups/{group.number}/type")
    if driver:
        machine.run(f"echo {address} >/sys/bus/pci/drivers/{driver}/bind")
        if driver == "nvme":
            wait_for_disk(machine, name)
    return status


def wait_for_disk(machine, name):
    """A bound NVMe disk appears a moment later."""
    address = machine.device(name).full_address
    machine.run(f"for i in $(seq 60); do ls -d /sys/bus/pci/devices/"
                f"{address}/nvme/nvme*/nvme*n1 2>&- && exit; sleep 1; done; "
                "exit 1")


def load_edu_driver(machine, options=""):
    """Load the driver for the edu devices, unless it is there."""
    machine.run(
        f"[ -d {EDU_FILES} ] || insmod /lab/edu_dma_test.ko {options}")


def write_unbound(machine, name, address):
    """Make an edu device that has no driver write zeroes by DMA."""
    machine.run(f"echo {machine.device(name).full_address} {address:#x} "
                f">{EDU_FILES}/unbound_write")


def set_driver(machine, name, action, driver="edu_dma_test"):
    """action is bind or unbind; (status, output)."""
    return machine.run_status(f"echo {machine.device(name).full_address} "
                              f">/sys/bus/pci/drivers/{driver}/{action}")


def type_and_source(machine, name):
    """What sysfs says of a device's group."""
    group = machine.group_of(name)
    return group.type, group.source


def default(machine, source="default"):
    """The type and source of a group whose type is the usual one."""
    return machine.spec.default_type, source


def said_of(machine, name):
    """The lines of the log about a device's wish, without stamps."""
    mark = f"{machine.device(name).full_address}: Wish for "
    return [line.split(mark)[1] for line in machine.serial().splitlines()
            if mark in line]


def says(machine, name, *lines):
    """Whether the log has these lines about a device's wish, and no others."""
    return said_of(machine, name) == list(lines)


def granted(machine, name, kind="an identity"):
    """The line that says that a device's wish from the boot line is met."""
    return (f"{kind} default domain granted, iommu group "
            f"{machine.group_of(name).number} (parameter)")


def not_granted(machine, name, reason, kind="an identity"):
    """The line that says why it is not."""
    return (f"{kind} default domain not granted, iommu group "
            f"{machine.group_of(name).number} (parameter): {reason}")


def edu_pair():
    """Two functions of one card, without ACS between them: one group."""
    return [machinespec.Device(f"pair{number}", "edu", f"00:0a.{number}",
                               {"dma_mask": "0xffffffffffffffff",
                                "multifunction": "on"})
            for number in range(2)]


class Edu:
    """A device whose DMA engine writes to any address."""

    def __init__(self, machine, name, options=""):
        self.machine = machine
        self.folder = f"{EDU_FILES}/{machine.device(name).full_address}"
        load_edu_driver(machine, options)

    def _value(self, name):
        return int(self.machine.run(f"cat {self.folder}/{name}"), 16)

    @property
    def mapped_address(self):
        """Bus address of a page mapped for the device."""
        return self._value("mapped_address")

    @property
    def mapped_value(self):
        """What is in that page."""
        return self._value("mapped_value")

    @property
    def victim_address(self):
        """Physical address of a page mapped for no device."""
        return self._value("victim_address")

    @property
    def victim_value(self):
        """What is in the victim page."""
        return self._value("victim_value")

    def stream(self, value):
        """Make it write a value to the victim page, mapped meanwhile."""
        self.machine.run(f"echo {value:#x} >{self.folder}/dma_stream")

    def write(self, address, value):
        """Make the device write a value to a bus address by DMA."""
        self.machine.run(
            f"echo {address:#x} {value:#x} >{self.folder}/dma_write")


def group_table(groups):
    """Groups as text that two kernels can be compared by."""
    lines = ["# SPDX-License-Identifier: GPL-2.0",
             "# group type devices, on a kernel without any option"]
    for group in groups:
        lines.append(" ".join([str(group.number), group.type,
                               *sorted(group.devices)]))
    return "\n".join(lines) + "\n"
