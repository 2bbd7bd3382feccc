# SPDX-License-Identifier: GPL-2.0
"""What the tests and the demo both show on a running machine."""

import hashlib

from .say import LabError

DATA_MIB = 16
# The data are numbered records, so that one in the wrong place shows.
RECORD = 1024
RECORDS = (DATA_MIB << 20) // RECORD
WRITER = f"""BEGIN {{
    for (n = 0; n < {RECORDS}; n++) printf "%{RECORD - 1}d\\n", seed + n
}}"""

EDU_FILES = "/sys/kernel/debug/edu_dma_test"
TRANSLATION = "/sys/kernel/debug/iommu/intel/dmar_translation_struct"
# The translation type in bits 2 and 3 of a VT-d context entry.
CONTEXT_TYPES = {0: "translated", 1: "translated", 2: "identity"}


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
    """What the VT-d context entry of a device says, from debugfs."""
    address = machine.device(name).address
    for line in machine.run(f"cat {TRANSLATION}").splitlines():
        words = line.split()
        if words and words[0] == address:
            entry = int(words[2].split(":")[1], 16)
            return CONTEXT_TYPES[entry >> 2 & 3]
    raise LabError(f"{TRANSLATION} has no entry for {address}")


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
                f"{address}/nvme/nvme*/nvme*n1 && exit; sleep 1; done; "
                "exit 1")


class Edu:
    """A device whose DMA engine writes to any address."""

    def __init__(self, machine, name):
        self.machine = machine
        self.folder = f"{EDU_FILES}/{machine.device(name).full_address}"
        machine.run(f"[ -d {EDU_FILES} ] || insmod /lab/edu_dma_test.ko")

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
