# SPDX-License-Identifier: GPL-2.0
"""What the IOMMU's own tables say of a device, for each kind of table.

A reader is a function of a machine and a PCI address such as 00:04.0. It
gives "identity", "translated" or, when all that the device does is blocked,
"blocked". VT-d's tables are shown by the kernel. Those of the others are
read out of the guest's memory, past the kernel.
"""

import re

VTD = "/sys/kernel/debug/iommu/intel/dmar_translation_struct"
# The translation type in bits 2 and 3 of a context entry
CONTEXT_TYPES = {0: "translated", 1: "translated", 2: "identity"}
# The type in bits 6 to 8 of a PASID table entry
PASID_TYPES = {1: "translated", 2: "translated", 3: "translated",
               4: "identity"}

# Where QEMU has the registers, and what is in them
AMD_REGISTERS = 0xfed80000
SMMU_REGISTERS = 0x09050000
SMMU_TABLE, SMMU_TABLE_FORM = 0x80, 0x88
# A stream table entry's lowest bits: its type, and that it is valid
STREAM_TYPES = {0b1001: "identity", 0b1011: "translated",
                0b1101: "translated", 0b1111: "translated"}


def requester(address):
    """The number by which an IOMMU knows a device: 0x20 for 00:04.0."""
    bus, slot, function = (int(word, 16)
                           for word in re.split("[:.]", address))
    return bus << 8 | slot << 3 | function


def bits(value, high, low):
    """A field of a value, its bits counted from 0."""
    return value >> low & (1 << high - low + 1) - 1


def _words(machine, address, number):
    """Words of 32 bits, all in one access."""
    text = machine.qmp.command("human-monitor-command", **{
        "command-line": f"xp /{number}wx {address:#x}"})
    return [int(word, 16) for word in text.split(":")[1].split()]


def memory(machine, address):
    """64 bits of the guest's memory, or of its registers."""
    low, high = _words(machine, address, 2)
    return high << 32 | low


def register(machine, address):
    """A register of 32 bits, which may be read only so."""
    return _words(machine, address, 1)[0]


def vtd(machine, address):
    """VT-d: the context entry, or in scalable mode the PASID's entry."""
    for line in machine.run(f"cat {VTD}").splitlines():
        words = line.split()
        if not words or words[0] != address:
            continue
        if words[3] == "-1":
            entry = int(words[2].split(":")[1], 16)
            return CONTEXT_TYPES[bits(entry, 3, 2)]
        # Requests without a PASID use PASID 0.
        if words[3] == "0":
            entry = int(words[4].split(":")[2], 16)
            return PASID_TYPES[bits(entry, 8, 6)]
    return "blocked"


def amd(machine, address):
    """AMD-Vi: the device table entry."""
    table = bits(memory(machine, AMD_REGISTERS), 51, 12) << 12
    entry = memory(machine, table + 32 * requester(address))
    valid, translation = bits(entry, 0, 0), bits(entry, 1, 1)
    if valid and translation and bits(entry, 11, 9):
        return "translated"
    allowed = bits(entry, 62, 61)
    return "identity" if allowed or not valid else "blocked"


def smmuv3(machine, address):
    """SMMUv3: the stream table entry, in a table of one or two levels."""
    stream = requester(address)
    form = register(machine, SMMU_REGISTERS + SMMU_TABLE_FORM)
    table = bits(memory(machine, SMMU_REGISTERS + SMMU_TABLE), 51, 6) << 6
    if bits(form, 17, 16):
        split = bits(form, 10, 6)
        level1 = memory(machine, table + 8 * (stream >> split))
        stream &= (1 << split) - 1
        # How many entries there are, as a power of two and one more
        span = bits(level1, 4, 0)
        if not span or stream >> span - 1:
            return "blocked"
        table = bits(level1, 51, 6) << 6
    entry = memory(machine, table + 64 * stream)
    return STREAM_TYPES.get(bits(entry, 3, 0), "blocked")


READERS = {"vtd": vtd, "amd": amd, "smmuv3": smmuv3}


def extended_capability(machine, name, number):
    """The first 8 bytes of a capability in PCIe's configuration space."""
    path = machine.device(name).full_address
    space = bytes.fromhex(machine.run(
        f"od -An -v -tx1 /sys/bus/pci/devices/{path}/config"))
    offset = 0x100
    while offset:
        head = int.from_bytes(space[offset:offset + 4], "little")
        if head & 0xffff == number:
            return space[offset:offset + 8]
        offset = head >> 20
    raise AssertionError(f"{name} has no capability {number:#x}")
