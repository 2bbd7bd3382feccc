# SPDX-License-Identifier: GPL-2.0
"""ACPI tables that say what a machine's firmware could say."""

import subprocess

from . import packages
from .say import log_path, run_logged

# QEMU's own table has the root bus's devices, named after slot and function.
EXTERNAL_FACING = """\
    External ({name}, DeviceObj)
    Scope ({name})
    {{
        Name (_DSD, Package ()
        {{
            ToUUID ("efcc06cc-73ac-4bc3-bff0-76143807c389"),
            Package () {{ Package () {{ "ExternalFacingPort", 1 }} }}
        }})
    }}
"""
TABLE = """\
DefinitionBlock ("", "SSDT", 2, "LAB", "EXTERNAL", 1)
{{
{body}}}
"""


def _name(address):
    """How QEMU's table calls the device at an address of the root bus."""
    slot, function = address.split(":")[1].split(".")
    return rf"\_SB.PCI0.S{int(slot, 16) << 3 | int(function):02X}"


def external_ports(folder, *addresses):
    """QEMU options: behind these root ports is the outside world."""
    packages.need("machine")
    body = "".join(EXTERNAL_FACING.format(name=_name(address))
                   for address in addresses)
    source = folder / "external.asl"
    source.write_text(TABLE.format(body=body))
    run_logged(["iasl", "-p", folder / "external", source],
               log_path("machine/acpi"), "compiling an ACPI table")
    table = str(folder / "external.aml").replace(",", ",,")
    return ["-acpitable", f"file={table}"]


# A DMAR table: an RMRR, with a device of the root bus in its scope
RMRR, PCI_ENDPOINT = 1, 1
LENGTH, CHECKSUM, OEM_REVISION = slice(4, 8), 9, slice(24, 28)


def with_reserved_memory(dmar, address, start, end):
    """A DMAR table and in it memory, to its last byte, that a device needs."""
    slot, function = address.split(":")[1].split(".")
    scope = bytes([PCI_ENDPOINT, 8, 0, 0, 0, 0, int(slot, 16), int(function)])
    table = bytearray(dmar)
    table += RMRR.to_bytes(2, "little")
    table += (24 + len(scope)).to_bytes(2, "little")
    table += bytes(4) + start.to_bytes(8, "little") + end.to_bytes(8, "little")
    table += scope
    table[LENGTH] = len(table).to_bytes(4, "little")
    # The kernel takes a table in place of an older one of the same name.
    revision = int.from_bytes(table[OEM_REVISION], "little") + 1
    table[OEM_REVISION] = revision.to_bytes(4, "little")
    table[CHECKSUM] = 0
    table[CHECKSUM] = -sum(table) % 256
    return bytes(table)


def initramfs_with(folder, name, table, initramfs):
    """An initramfs from which the kernel takes a table before all else."""
    inner = folder / "kernel/firmware/acpi"
    inner.mkdir(parents=True)
    (inner / name).write_bytes(table)
    first = subprocess.run(
        ["cpio", "--quiet", "-o", "-H", "newc"], check=True, cwd=folder,
        input=f"kernel/firmware/acpi/{name}".encode(), capture_output=True)
    both = folder / "initramfs.cpio"
    both.write_bytes(first.stdout + initramfs.read_bytes())
    return both
