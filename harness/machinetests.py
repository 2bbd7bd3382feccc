# SPDX-License-Identifier: GPL-2.0
"""The tests of harness/tests/, most of them on machines, as one suite."""

import re
import xml.etree.ElementTree as xml

from . import clones, longresults, machinespec, matrix, packages, settings
from . import kernel as kernels
from . import tree as trees
from .counts import Counts
from .machine import run_logs
from .say import LabError, run_logged, say, tail

TESTS = settings.HARNESS / "tests"
FAILURE_LINES = 25
# The configuration of a kernel that finds more and is slower, for --all; the
# word of -k that means the tests on it.
KASAN = "kasan"
ENDED = re.compile(r"^\S*?(\w+\.py::\S+) (PASSED|FAILED|SKIPPED|ERROR)")
# pytest's exit statuses for "some failed" and "nothing was selected"
SOME_FAILED, NONE_SELECTED = 1, 5


def pytest(images, logs, expression=None, tests=TESTS, machines=(),
           more=()):
    """Run pytest with kernels, on all machines or some; Counts."""
    report, log = logs / "report.xml", logs / "pytest.log"
    logs.mkdir(parents=True, exist_ok=True)
    argv = ["/usr/bin/python3", "-m", "pytest", tests, "-v", "--tb=short",
            "-p", "no:cacheprovider", "--rootdir", settings.ROOT,
            f"--junit-xml={report}", "--logs", logs]
    for image in images:
        argv += ["--kernel", image]
    for name in machines:
        argv += ["--machine", name]
    if expression:
        argv += ["-k", expression]
    argv += more

    def show(line):
        ended = ENDED.match(line)
        if ended:
            say(f"  {ended[2].lower():8}{ended[1]}")

    status = run_logged(argv, log, "pytest", cwd=settings.ROOT, check=False,
                        on_line=show,
                        env={"PYTHONDONTWRITEBYTECODE": "1",
                             "PYTHONUNBUFFERED": "1"})
    if status == NONE_SELECTED:
        return Counts("machines")
    if status not in (0, SOME_FAILED) or not report.is_file():
        raise LabError(f"pytest could not run:\n{tail(log)}\n"
                       f"  full log: {log}")
    counts = count(report)
    matrix.show(report)
    if status and not counts.failed:
        raise LabError(f"pytest ended with status {status} and names no "
                       f"failed test:\n{tail(log)}\n  full log: {log}")
    if counts.failed:
        say(f"  full log: {log}")
    return counts


def count(report):
    """Counts from pytest's XML report; every failure is shown.

    So is what a test has counted. One that passed and then broke the splat
    rule has an entry of its own in the report, an error; it is one failed
    test.
    """
    results = {}
    for case in xml.parse(report).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        for figure in case.iter("property"):
            say(f"  {case.get('name')}: {figure.get('value')}")
        bad = [entry for entry in case if entry.tag in ("failure", "error")]
        if bad:
            say(f"FAILED {name}")
            for entry in bad:
                show_end(entry.text or entry.get("message", ""))
            results[name] = "failed"
        elif case.find("skipped") is not None:
            results.setdefault(name, "skipped")
        else:
            results.setdefault(name, "passed")
    found = list(results.values())
    return Counts("machines", found.count("passed"), found.count("failed"),
                  found.count("skipped"))


def show_end(text):
    """The last lines of a failure; the serial log is named in them."""
    for line in text.strip().splitlines()[-FAILURE_LINES:]:
        say("    " + line)


def names_no_test(expression):
    """Whether -k EXPR is the name of a check: no test's name has a space."""
    words = (expression or "").split()
    return len(words) > 1 and not {"and", "or", "not"} & set(words)


def means_kasan(expression):
    """Whether -k EXPR means tests on the KASAN kernel, and no others."""
    return re.search(rf"(?<!not ){KASAN}\b", expression or "") is not None


def built(specs, config="test"):
    """The images of the kernels that machines boot."""
    images = []
    for arch in sorted({spec.arch for spec in specs}, reverse=True):
        packages.need("machine", f"machine-{arch}")
        images.append(kernels.build(config, arch).image)
    return images


def run(expression=None, everything=False, machine=None):
    """The suite, on every machine or on one.

    With everything, some also with the KASAN kernel, and the reference is
    checked as well.
    """
    if names_no_test(expression):
        return Counts("machines")
    chosen = machinespec.chosen(machine, everything)
    logs = run_logs("machines")
    only_kasan = everything and means_kasan(expression)
    counts = Counts("machines")
    if not only_kasan:
        counts.add(run_plain(chosen, logs, expression, everything))
    if everything and (only_kasan or not expression):
        counts.add(run_kasan(chosen, logs, expression))
    left = [name for name in machinespec.names() if name not in chosen]
    if left and not machine:
        say(f"  left to --all: {', '.join(left)}")
    if not counts.total and not expression:
        raise LabError(f"pytest found no test in {TESTS}")
    if everything and expression in (None, "stock_groups"):
        counts.add(check_reference(logs.with_name(logs.name + "-stock")))
    return counts


def run_plain(chosen, logs, expression=None, everything=False):
    """The tests on the kernel that they are written for."""
    specs = machinespec.specs(chosen)
    seen = longresults.state(programs=True)
    counts = pytest(built(specs), logs, expression, machines=chosen,
                    more=["--long"] * everything)
    if counts.passed and not counts.failed and not expression:
        for spec in specs:
            if spec.only_in_all:
                longresults.note(longresults.on_machine(spec.name), seen)
    return counts


def run_kasan(chosen, logs, expression=None):
    """The tests on the KASAN kernel, on those machines that have them."""
    counts = Counts("machines")
    seen = longresults.state(programs=True)
    for spec in machinespec.specs(chosen):
        if not spec.under_kasan:
            continue
        say(f"with the KASAN kernel on {spec.title}:")
        one = pytest(built([spec], KASAN),
                     logs.with_name(f"{logs.name}-{KASAN}-{spec.name}"),
                     expression, machines=[spec.name],
                     more=["--long", "--config", KASAN])
        counts.add(one)
        if one.passed and not one.failed and expression in (None, KASAN):
            longresults.note(longresults.under_kasan(spec.name), seen)
    return counts


def check_reference(logs, regenerate=False):
    """The committed tables of groups are what the stock kernel shows."""
    stock = clones.stock_tree(trees.tree())
    specs = [spec for spec in machinespec.specs()
             if "reference" not in spec.cannot]
    images = [kernels.build("test", arch, stock).image
              for arch in sorted({spec.arch for spec in specs})]
    counts = pytest(images, logs, "equal_the_stock",
                    TESTS / "test_stock_table.py",
                    [spec.name for spec in specs],
                    ["--regenerate"] * regenerate)
    if not counts.total:
        raise LabError("no test compared the stock kernel's groups with "
                       "the reference")
    if not counts.failed:
        longresults.note(longresults.GROUPS)
    return counts
