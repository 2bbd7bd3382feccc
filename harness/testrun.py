# SPDX-License-Identifier: GPL-2.0
"""./lab test: every suite one after the other, one closing line."""

import importlib
import json
import resource
import time
import traceback

from . import base as bases
from . import emulator, machinespec, settings, tree
from .counts import Counts
from .say import LabError, say

# Quick ones first: what is wrong is known soon.
SUITES = (("checks", "checks"), ("kunit", "kunit"),
          ("selftests", "selftests"), ("iommufd", "iommufd"),
          ("machines", "machinetests"))
# Those that --machine selects
ON_MACHINES = ("selftests", "machines")
RESULT = settings.BUILD / "results" / "test.json"


def processor_seconds():
    """What this process and those that it has waited for have used."""
    used = [resource.getrusage(who) for who in (
        resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def run_suite(name, module, **options):
    """(Counts, seconds, processor seconds) of a suite.

    One that cannot run is a failure. Processor seconds are the ones to
    compare: they do not grow when others use the machine.
    """
    say(f"== {name}")
    begin, used = time.monotonic(), processor_seconds()
    try:
        suite = importlib.import_module(f"{__package__}.{module}")
        counts = suite.run(**options)
    except LabError as error:
        say(f"FAILED {name}: {error}")
        counts = Counts(name, failed=1)
    except Exception:  # a mistake in one suite must not hide the others
        say(f"FAILED {name}:\n{traceback.format_exc()}")
        counts = Counts(name, failed=1)
    counts.suite = name
    return counts, time.monotonic() - begin, processor_seconds() - used


def table(rows):
    """The result of every suite, one line each."""
    lines = [f"{'suite':12}{'passed':>8}{'failed':>8}{'skipped':>9}"
             f"{'seconds':>9}{'processor':>11}"]
    for counts, seconds, used in rows:
        lines.append(f"{counts.suite:12}{counts.passed:8}{counts.failed:8}"
                     f"{counts.skipped:9}{seconds:9.0f}{used:11.0f}")
    return lines


def release():
    """The release of the test kernel, when it has been built."""
    path = settings.TREE / "out-test/include/config/kernel.release"
    return path.read_text().strip() if path.is_file() else None


def record(rows, options):
    """Keep the result with everything that it depends on."""
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    base = bases.base()
    text = json.dumps({
        "base": base.version, "kernel": release(), "qemu": emulator.version(),
        "patches": tree.digest(tree.patches()), "options": options,
        "suites": {counts.suite: {
            "passed": counts.passed, "failed": counts.failed,
            "skipped": counts.skipped, "seconds": round(seconds),
            "processor_seconds": round(used)}
            for counts, seconds, used in rows}}, indent=1)
    part = RESULT.with_suffix(".part")
    part.write_text(text + "\n")
    part.rename(RESULT)


def run(everything=False, expression=None, machine=None):
    """Run the suites, or what runs on one machine; the exit status."""
    options = {"expression": expression, "everything": everything}
    suites = SUITES
    if machine:
        machinespec.spec(machine)
        options["machine"] = machine
        suites = [suite for suite in SUITES if suite[0] in ON_MACHINES]
    base = bases.base()
    say(f"base: {settings.BASE_PACKAGE} {base.version}")
    rows = [run_suite(name, module, **options) for name, module in suites]
    total = Counts("all")
    for counts, *_ in rows:
        total.add(counts)
    record(rows, options)
    say()
    for line in table(rows):
        say(line)
    if expression and not total.total:
        say(f"no test is called like \"{expression}\"")
    say(total.closing())
    return 1 if total.failed or not total.total else 0
