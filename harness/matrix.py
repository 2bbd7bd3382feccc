# SPDX-License-Identifier: GPL-2.0
"""The table of a run on several machines: machines across, tests down."""

import re
import xml.etree.ElementTree as xml

from . import machinespec
from .say import say

PASSED, FAILED = "ok", "FAILED"
NOT_RUN = "-"


def result_of(case):
    """(result, why) of a test case in pytest's report."""
    if case.find("failure") is not None or case.find("error") is not None:
        return FAILED, ""
    skipped = case.find("skipped")
    if skipped is not None:
        return "", skipped.get("message", "")
    return PASSED, ""


def split(name):
    """(test, machine) of test_name[machine-rest]; without one, None."""
    found = re.fullmatch(r"test_(\w+)\[(.*)\]", name)
    if not found:
        return None
    machines = [each for each in machinespec.names()
                if found[2] == each or found[2].startswith(f"{each}-")]
    if not machines:
        return None
    # One machine's name may be the beginning of another's.
    machine = max(machines, key=len)
    rest = found[2].removeprefix(machine)[1:]
    return found[1] + f"[{rest}]" * bool(rest), machine


def collect(report):
    """{test: {machine: (result, why)}} of the tests that ran on machines."""
    found = {}
    for case in xml.parse(report).iter("testcase"):
        parts = split(case.get("name"))
        if not parts:
            continue
        module = case.get("classname").split(".")[-1]
        row = found.setdefault(
            f"{module.removeprefix('test_')}: {parts[0]}", {})
        # A test that broke the splat rule afterwards has a second entry.
        if row.get(parts[1], ("",))[0] != FAILED:
            row[parts[1]] = result_of(case)
    return found


def lines(found):
    """The table as text, the reasons why tests did not run below it."""
    names = [name for name in machinespec.names()
             if any(name in row for row in found.values())]
    width = max(map(len, found), default=0) + 2
    widths = {name: max(len(name), len(FAILED)) + 2 for name in names}
    text = [" " * width + "".join(f"{name:>{widths[name]}}"
                                  for name in names)]
    reasons = []
    for test, row in found.items():
        cells = []
        for name in names:
            result, why = row.get(name, (NOT_RUN, ""))
            if why:
                if why not in reasons:
                    reasons.append(why)
                result = f"({reasons.index(why) + 1})"
            cells.append(f"{result:>{widths[name]}}")
        text.append(f"{test:{width}}" + "".join(cells))
    text += [f"({number}) {why}" for number, why in enumerate(reasons, 1)]
    return text


def show(report):
    """Print the table, if anything ran on a machine."""
    found = collect(report)
    if found:
        table = lines(found)
        report.with_name("matrix.txt").write_text("\n".join(table) + "\n",
                                                  encoding="utf-8")
        for line in table:
            say("  " + line)
