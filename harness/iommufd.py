# SPDX-License-Identifier: GPL-2.0
"""The kernel's own iommufd selftests: what passes on the stock kernel does.

Its cases drive a mock IOMMU driver through /dev/iommu. The reference says how
each ended on the stock kernel; some do not pass there.
"""

import re
import time

from . import base as bases
from . import clones, longresults, packages, selftests, settings
from . import kernel as kernels
from . import tree as trees
from .counts import Counts
from .machine import Machine, run_logs
from .say import LabError, Progress, say

NAME = "iommufd selftests"
PROGRAMS = ("iommufd", "iommufd_fail_nth")
# The programs map 128 MiB of huge pages, and as much of others.
HUGE_PAGES = ["hugepages=96"]
# The core gives a device without firmware data to the first IOMMU driver, so
# the mock driver has to be the only one.
NO_IOMMU = ["intel_iommu=off"]
MEMORY = ["-m", "1G"]
# Nothing is tested by how long it takes; this only ends what hangs.
PROGRAM_SECONDS = 3600
POLL_SECONDS = 2
CASE = re.compile(r"^(not )?ok \d+ (\S+)(?: +# +(\w+).*)?$", re.MULTILINE)

# The base's programs were brought up to date without the headers that they
# need. With these the rest of their cases can be compiled; a case that needs
# the newer kernel fails on the stock kernel, and the reference says so.
HEADERS = ("include/uapi/linux/iommufd.h",
           "drivers/iommu/iommufd/iommufd_test.h")
NEWER = {"IOMMU_HW_INFO_TYPE_DEFAULT": "0",
         "IOMMU_HW_INFO_FLAG_INPUT_TYPE": "1",
         "in_data_type": "out_data_type",
         "MOCK_FLAGS_DEVICE_PASID": "4",
         "MOCK_PASID_WIDTH": "20"}


# Running them

def compiler_options(tree):
    """What the programs of a tree are compiled with."""
    known = "".join((tree / name).read_text() for name in HEADERS)
    return ["-Wno-unused-function",
            "-include", settings.HARNESS / "guest/patient.h",
            *[f"-D{name}={value}" for name, value in NEWER.items()
              if not re.search(rf"\b{name}\b", known)]]


def cases(text):
    """{case: result} of a program's output."""
    return {case: "fail" if failed else (comment or "pass").lower()
            for failed, case, comment in CASE.findall(text)}


def follow(machine, name):
    """Run a program with its progress shown; {case: result}."""
    machine.run(f"cd /run && {{ /lab/{name} >{name}.tap 2>&1; "
                f"echo $? >{name}.status; }} &")
    deadline = time.monotonic() + PROGRAM_SECONDS
    with Progress(f"selftest {name}, cases") as progress:
        ended = False
        while not ended:
            if time.monotonic() > deadline:
                raise LabError(f"selftest {name} does not end\n"
                               f"  serial log: {machine.log}")
            time.sleep(POLL_SECONDS)
            ended = machine.run_status(f"[ -s /run/{name}.status ]")[0] == 0
            text = machine.run(f"grep -E '^(1\\.\\.|(not )?ok )' "
                               f"/run/{name}.tap || true")
            plan = selftests.PLAN.search(text)
            found = cases(text)
            progress.update(len(found), int(plan[1]) if plan else None)
    machine.log.with_name(f"{machine.log.name}-{name}.tap").write_text(
        machine.run(f"cat /run/{name}.tap") + "\n")
    if not plan or int(plan[1]) != len(found):
        status = machine.run(f"cat /run/{name}.status")
        say(f"{name} ended with status {status} after {len(found)} cases")
    return found


def results(kernel, log):
    """{"program case": result} of a kernel; a splat is an error."""
    packages.need("build", "machine", "machine-x86_64")
    built = selftests.build(kernel, PROGRAMS, compiler_options(kernel.tree))
    found = {}
    with Machine(kernel, log, programs=built, boot=HUGE_PAGES + NO_IOMMU,
                 extra=MEMORY) as machine:
        for name in PROGRAMS:
            for case, result in follow(machine, name).items():
                found[f"{name} {case}"] = result
    return found


# The reference

def reference_path():
    """The stock kernel's results; of the pinned base if of no other."""
    paths = [settings.REFERENCE / f"{upstream}-iommufd-selftests.txt"
             for upstream in (bases.base().upstream,
                              bases.upstream_of(settings.BASE_VERSION))]
    return next((path for path in paths if path.is_file()), paths[0])


def to_text(found):
    """Results as the text of a reference."""
    lines = ["# SPDX-License-Identifier: GPL-2.0",
             "# program case result, on the stock kernel; ./lab test --all "
             "-k",
             f"# \"{NAME}\" writes this file when it is not there"]
    lines += [f"{case} {result}" for case, result in sorted(found.items())]
    return "\n".join(lines) + "\n"


def from_text(text):
    """Results from the text of a reference."""
    return dict(line.rsplit(" ", 1) for line in text.splitlines()
                if line and not line.startswith("#"))


def worse(reference, found):
    """One line for each case that does less than on the stock kernel.

    A case that the stock kernel does not have must not fail either.
    """
    lines = [f"{case}: pass on the stock kernel, now "
             f"{found.get(case, 'not there')}"
             for case, result in reference.items()
             if result == "pass" and found.get(case) != "pass"]
    return lines + [f"{case}: {result}, and the stock kernel does not have "
                    "it" for case, result in found.items()
                    if result == "fail" and case not in reference]


def compare(reference, found, log):
    """Counts; what is worse is named."""
    counts = Counts("iommufd")
    wrong = worse(reference, found)
    for line in wrong:
        say(f"FAILED {line}")
    if wrong:
        say(f"  what the programs said: {log}-*.tap")
    counts.failed = len(wrong)
    counts.passed = list(found.values()).count("pass")
    others = sum(1 for case, result in found.items() if result != "pass"
                 and reference.get(case, "pass") != "pass")
    counts.skipped = others
    say(f"  {counts.passed} passed; {others} do not pass on the stock "
        f"kernel either, see {reference_path().name}")
    return counts


def check_reference(logs):
    """The committed results are what the stock kernel shows."""
    stock = kernels.build("test", tree=clones.stock_tree(trees.tree()))
    path = settings.REFERENCE / (f"{bases.base().upstream}"
                                 "-iommufd-selftests.txt")
    found = results(stock, logs / "stock.serial.log")
    if not path.is_file():
        path.write_text(to_text(found))
        say(f"written: {path}")
    known = from_text(path.read_text())
    wrong = sorted(known.items() ^ found.items())
    for case, result in wrong:
        where = "reference" if known.get(case) == result else "stock kernel"
        say(f"FAILED {longresults.IOMMUFD}: {case} is {result} in the "
            f"{where}")
    if not wrong:
        longresults.note(longresults.IOMMUFD)
    return Counts("iommufd", passed=not wrong, failed=bool(wrong))


def run(expression=None, everything=False):
    """The suite, a part of --all; the reference is checked as well."""
    counts = Counts("iommufd")
    if not everything and not expression:
        return counts
    logs = run_logs("iommufd")
    if everything and (not expression or expression in longresults.IOMMUFD):
        counts.add(check_reference(logs))
    if not expression or expression in NAME:
        path = reference_path()
        if not path.is_file():
            raise LabError(f"{path} is missing; "
                           f"./lab test --all -k '{NAME}' writes it")
        log = logs / "iommufd.serial.log"
        found = results(kernels.build("test"), log)
        counts.add(compare(from_text(path.read_text()), found, log))
    return counts
