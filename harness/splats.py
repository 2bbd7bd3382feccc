# SPDX-License-Identifier: GPL-2.0
"""The rule that a kernel log must not break: no splat, no stray fault."""

import re
from dataclasses import dataclass

# What follows an offending line is shown with it.
CONTEXT_LINES = 12

STAMP = r"^(?:\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? )?"

SPLATS = [re.compile(STAMP + pattern) for pattern in (
    r"WARNING: ",
    r"BUG: ",
    r"kernel BUG at ",
    r"Oops(?: |:)",
    r"general protection fault",
    r"Kernel panic",
    r"(?:INFO|WARNING): (?:possible|inconsistent|suspicious) ",
    r"INFO: .*(?:self-detected stall|detected stalls|detected expedited)",
    r"rcu: INFO: ",
    r"INFO: task .* blocked for more than",
    r"INFO: trying to register non-static key",
    r".*KASAN: ",
    r".*KFENCE: (?!initialized)",
    r"kmemleak: \d+ new suspected memory leaks",
    r".*scheduling while atomic",
    r".*sleeping function called from invalid context",
    r".*list_(?:add|del) corruption",
    r".*refcount_t: ",
    r".*UBSAN: ",
    r".*DMA-API: .*(?:error|warning|device driver)",
)]

# How each IOMMU driver says that it blocked a transfer.
FAULTS = [
    re.compile(r"DMAR: \[.*\] Request device \[(?P<device>[0-9a-f:.]+)\] "
               r"fault addr (?P<address>0x[0-9a-f]+)"),
]


@dataclass(frozen=True)
class Fault:
    """A transfer that the IOMMU blocked; a device such as 00:06.0."""

    device: str
    address: int

    def __str__(self):
        return f"{self.device} at {self.address:#x}"


@dataclass(frozen=True)
class Panic:
    """A panic that a test causes; what the kernel says in it."""

    message: str

    def is_in(self, line):
        """Is a line of the log the first of this panic?"""
        return re.fullmatch(STAMP + "Kernel panic - not syncing: "
                            + re.escape(self.message), line) is not None


def fault_in(line):
    """The fault that a line of the log reports, or None."""
    for pattern in FAULTS:
        found = pattern.search(line)
        if found:
            return Fault(found["device"].removeprefix("0000:"),
                         int(found["address"], 16))
    return None


def faults(log):
    """Every fault in a log, in order."""
    return [fault for fault in map(fault_in, log.splitlines()) if fault]


def findings(log, declared=()):
    """Excerpts of a log that break the rule.

    What is declared, faults and panics, does not.
    """
    lines = log.splitlines()
    panics = [each for each in declared if isinstance(each, Panic)]
    found = []
    quiet_until = -1
    for number, line in enumerate(lines):
        fault = fault_in(line)
        if fault:
            offends = fault not in declared
        else:
            # One splat has several such lines; it is one finding.
            offends = number > quiet_until and any(
                pattern.match(line) for pattern in SPLATS) \
                and not any(panic.is_in(line) for panic in panics)
            if offends:
                quiet_until = number + CONTEXT_LINES
        if offends:
            last = number + 1 if fault else number + 1 + CONTEXT_LINES
            found.append("\n".join(lines[number:last]))
    return found
