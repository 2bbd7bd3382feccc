# SPDX-License-Identifier: GPL-2.0
"""The series' kselftests: built from the tree, run in a machine."""

import re
from pathlib import PurePosixPath

from . import kernel as kernels
from . import machinespec, packages, settings, splats
from .counts import Counts
from .kernel import CROSS, make_command
from .machine import Machine, run_logs
from .say import log_path, run_logged, say

FOLDER = "tools/testing/selftests/iommu"
PLAN = re.compile(r"^1\.\.(\d+)", re.MULTILINE)
# Only a program that hangs takes that long.
PROGRAM_SECONDS = 900
RESULT = re.compile(r"^\s*(not )?ok \d+ ?-? ?(.*)$")
# What a program has counted
FIGURE = re.compile(r"^# (\d+ .*)$")
BLOCKED = re.compile(r"^# (\S+) must not reach (0x[0-9a-f]+)$", re.MULTILINE)
# A test of harness/tests/ runs these, and looks at what they leave behind.
ELSEWHERE = ("group_faults", "group_fire", "user_dma", "vdpa_domain")


def programs():
    """Names of our programs for any machine, each a C file of its own."""
    found = [PurePosixPath(path).stem for path in settings.new_files()
             if str(PurePosixPath(path).parent) == FOLDER
             and path.endswith(".c")]
    return [name for name in found if name not in ELSEWHERE]


def build(kernel, names, options=()):
    """Build the programs statically; their paths."""
    with kernels.lock(kernel):
        return _build(kernel, names, options)


def _build(kernel, names, options):
    log = log_path("kernel/selftests")
    target = kernel.build / "lab-selftests"
    target.mkdir(exist_ok=True)
    run_logged([*make_command(kernel.tree, kernel.build, kernel.arch),
                "headers"], log, "installing the kernel's headers")
    built = []
    for name in names:
        # Another ./lab may be reading the one that is there.
        part = target / f"{name}.part"
        run_logged([f"{CROSS[kernel.arch]}gcc", "-static", "-O2", "-Wall",
                    "-Werror", "-D_GNU_SOURCE=", *options, "-isystem",
                    kernel.build / "usr/include",
                    kernel.tree / FOLDER / f"{name}.c",
                    "-o", part], log, f"building selftest {name}")
        part.rename(target / name)
        built.append(target / name)
    return built


def parse(name, text):
    """Counts from TAP; failed cases are named, figures are shown."""
    counts = Counts("selftests")
    for line in text.splitlines():
        figure = FIGURE.match(line)
        if figure:
            say(f"  {name}: {figure[1]}")
        result = RESULT.match(line)
        if not result:
            continue
        case = result[2]
        if result[1]:
            counts.failed += 1
            say(f"FAILED {name}: {case}")
        elif "# SKIP" in case:
            counts.skipped += 1
            say(f"  skipped {name}: {case}")
        else:
            counts.passed += 1
            say(f"  passed  {name}: {case}")
    return counts


def figures(text):
    """What a program has counted, a line each."""
    return [found[1] for line in text.splitlines()
            if (found := FIGURE.match(line))]


def announced(text):
    """The faults that a program says that it causes, in order."""
    return [splats.Fault(device.removeprefix("0000:"),
                         int(address, 16) & splats.PAGE)
            for device, address in BLOCKED.findall(text)]


def run_program(machine, name):
    """Run one program; Counts."""
    status, text = machine.run_status(f"/lab/{name}", PROGRAM_SECONDS)
    for fault in announced(text):
        machine.declared.append(fault)
    counts = parse(name, text)
    # A program that dies, or says nothing, must not count as passed.
    plan = PLAN.search(text)
    planned = int(plan[1]) if plan else 1
    if counts.total < planned or (status and status != 4
                                  and not counts.failed):
        counts.failed += 1
        say(f"FAILED {name}: ended with status {status}, its last lines:")
        for line in text.splitlines()[-15:]:
            say("    " + line)
        say(f"  serial log: {machine.log}")
    return counts


def run_on(spec, names, folder):
    """Run programs on one machine; Counts."""
    counts = Counts("selftests")
    kernel = kernels.build("test", spec.arch)
    built = build(kernel, names)
    say(f"on {spec.title}:")
    with Machine(kernel, folder / f"{spec.name}.serial.log", spec,
                 programs=built) as machine:
        for name in names:
            counts.add(run_program(machine, name))
    return counts


def run(expression=None, everything=False, machine=None):
    """The suite on the machines of the run."""
    counts = Counts("selftests")
    names = [name for name in programs()
             if not expression or expression in f"selftests {name}"]
    if not names:
        return counts
    packages.need("build", "machine")
    folder = run_logs("selftests")
    for spec in machinespec.specs(machinespec.chosen(machine, everything)):
        counts.add(run_on(spec, names, folder))
    return counts
