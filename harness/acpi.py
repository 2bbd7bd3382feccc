# SPDX-License-Identifier: GPL-2.0
"""ACPI tables that say what a machine's firmware could say."""

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
