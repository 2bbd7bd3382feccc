# SPDX-License-Identifier: GPL-2.0
"""The rule that a kernel log must not break: no splat, no stray fault."""

import functools
import re
from dataclasses import dataclass

from . import machinespec

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

# A report of a fault has so many lines at most.
FAULT_LINES = 6
PAGE = ~0xfff


@dataclass(frozen=True)
class Fault:
    """A transfer that the IOMMU blocked; a device such as 00:06.0.

    The address is that of a page. Some reports do not name it: None.
    """

    device: str
    address: int | None

    def __str__(self):
        return self.device if self.address is None \
            else f"{self.device} at {self.address:#x}"


@dataclass(frozen=True)
class Panic:
    """A panic that a test causes; what the kernel says in it."""

    message: str

    def is_in(self, line):
        """Is a line of the log the first of this panic?"""
        return re.fullmatch(STAMP + "Kernel panic - not syncing: "
                            + re.escape(self.message), line) is not None


@functools.lru_cache(maxsize=None)
def patterns():
    """How the IOMMU drivers of all machines report a blocked transfer."""
    return [re.compile(".*" + text, re.MULTILINE)
            for text in sorted({text for spec in machinespec.specs()
                                for text in (spec.fault, spec.trace_fault)
                                if text})]


@functools.lru_cache(maxsize=None)
def _heads():
    """The first lines of those reports that have several."""
    return [re.compile(spec.fault.split(r"\n")[0])
            for spec in machinespec.specs() if r"\n" in spec.fault]


def _is_head(line):
    return any(head.search(line) for head in _heads())


def _device(found):
    """The device of a report, whatever it is called there.

    device is its PCI address, endpoint and stream are the number of it, in
    decimal and in hexadecimal digits.
    """
    names = found.groupdict()
    if names.get("device"):
        return names["device"].removeprefix("0000:")
    number = int(names["endpoint"]) if names.get("endpoint") \
        else int(names["stream"], 16)
    return f"{number >> 8:02x}:{number >> 3 & 31:02x}.{number & 7}"


def fault_at(lines, number=0):
    """(fault, its lines) that a report beginning in a line says, or None."""
    plain = [re.sub(STAMP, "", line)
             for line in lines[number:number + FAULT_LINES]]
    for pattern in patterns():
        found = pattern.match("\n".join(plain))
        if found:
            last = number + found[0].count("\n") + 1
            address = found.groupdict().get("address")
            return (Fault(_device(found),
                          address and int(address, 16) & PAGE),
                    lines[number:last])
    return None


def faults(log):
    """Every fault in a log, in order, with its lines."""
    lines = log.splitlines()
    return [fault for number in range(len(lines))
            if (fault := fault_at(lines, number))]


def without_open_report(log):
    """A log up to a report at its end of which not all lines are there."""
    lines = log.splitlines(keepends=True)
    for number in range(max(0, len(lines) - FAULT_LINES), len(lines)):
        if _is_head(lines[number]) and not faults("".join(lines[number:])):
            return "".join(lines[:number])
    return log


def findings(log, declared=()):
    """Excerpts of a log that break the rule.

    What is declared, faults and panics, does not. A report with a line of
    somebody else between its own cannot be read, and breaks it.
    """
    lines = log.splitlines()
    panics = [each for each in declared if isinstance(each, Panic)]
    found = []
    quiet_until = -1
    for number, line in enumerate(lines):
        fault = fault_at(lines, number)
        if fault:
            offends = fault[0] not in declared
        else:
            # One splat has several such lines; it is one finding.
            offends = number > quiet_until and (_is_head(line) or any(
                pattern.match(line) for pattern in SPLATS)) \
                and not any(panic.is_in(line) for panic in panics)
            if offends:
                quiet_until = number + CONTEXT_LINES
        if offends:
            found.append("\n".join(
                fault[1] if fault
                else lines[number:number + 1 + CONTEXT_LINES]))
    return found
