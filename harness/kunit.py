# SPDX-License-Identifier: GPL-2.0
"""The KUnit suites of the series, run by the kernel's own kunit.py."""

import fnmatch
import json
import re

from . import hold, kernel, longresults, packages, settings, splats
from . import tree as trees
from .counts import Counts
from .say import LabError, Progress, log_path, run_logged, say, tail

SUITES = "drivers/iommu/tests"
SECONDS = 600
# What --all adds to the suites' kernel
KASAN = ["CONFIG_KASAN=y"]
ARCH = "x86_64"
CASE = re.compile(r"\bKUNIT_CASE\w*\(\s*(\w+)")


def cases(group, prefix=""):
    """(name, status, log) of every test case below a group of results."""
    for case in group.get("test_cases", []):
        yield (f"{prefix}{case['name']}", case["status"],
               case.get("log", []))
    for sub in group.get("sub_groups", []):
        yield from cases(sub, f"{prefix}{sub['name']}.")


def selected(name, expression):
    """Whether -k EXPR means this case: part of its name, or a pattern."""
    if expression in (None, "kunit"):
        return True
    return expression in name or fnmatch.fnmatch(name, expression)


def names(folder):
    """Names of suites and cases, as far as the sources show them."""
    found = set()
    for path in (folder / SUITES).glob("*.c"):
        text = path.read_text(encoding="utf-8")
        found.update(CASE.findall(text))
        found.update(re.findall(r"\.name = \"([^\"]+)\"", text))
    return found


def worth_running(expression, folder):
    """Whether -k EXPR can mean a case; saves the build when it cannot."""
    if expression is None or "kunit" in expression:
        return True
    # A letter or two is in every name, and means something else.
    words = [word for word in re.split(r"[.*? ]+", expression)
             if len(word) > 2 and word not in ("and", "not")]
    return any(word in name for word in words for name in names(folder))


def _command(folder, out, result, symbols):
    return [*kernel.clean_environment(), "nice",
            folder / "tools/testing/kunit/kunit.py", "run",
            f"--arch={ARCH}", f"--kunitconfig={SUITES}",
            f"--build_dir={out}", f"--jobs={settings.jobs()}",
            f"--timeout={SECONDS}", "--make_options", "CC=ccache gcc",
            f"--json={result}",
            *[f"--kconfig_add={symbol}" for symbol in symbols]]


def results(folder, log, out, symbols):
    """Build and run the suites; (exit status, parsed result)."""
    result = out / "result.json"
    result.unlink(missing_ok=True)
    what = " ".join(["KUnit kernel", *symbols])
    with Progress(f"{what}, build and run") as progress:
        def count(line):
            progress.update(note=line.strip()[-60:])
        status = run_logged(_command(folder, out, result, symbols), log,
                            "kunit.py", cwd=folder, on_line=count,
                            check=False)
    if not result.is_file():
        raise LabError("KUnit: no result, the kernel was not built or did "
                       f"not boot. Its last lines:\n{tail(log)}\n"
                       f"  full log: {log}")
    return status, json.loads(result.read_text())


def _print_failure(name, lines):
    say(f"FAILED kunit {name}")
    for line in lines[-8:]:
        say(f"    {line}")


def not_run(folder, every):
    """Cases that the sources have and that have no result."""
    ran = {part for name, _, _ in every for part in name.split(".")}
    found = set()
    for path in (folder / SUITES).glob("*.c"):
        found.update(CASE.findall(path.read_text(encoding="utf-8")))
    return sorted(found - ran)


def judge(every, folder, out, status, expression=None):
    """Counts of the cases, and of what no case shows.

    A suite that is gone, or a kernel that ended between two cases, leaves
    nothing but good results; so does a splat that no case asked for.
    """
    counts = Counts("kunit")
    for name, result, lines in every:
        if not selected(name, expression):
            continue
        if result == "PASS":
            counts.passed += 1
        elif result == "SKIP":
            counts.skipped += 1
            say(f"skipped kunit {name}")
        else:
            counts.failed += 1
            _print_failure(name, lines)
    for name in not_run(folder, every):
        counts.failed += 1
        _print_failure(name, ["is in the sources and has no result"])
    if status and all(result in ("PASS", "SKIP") for _, result, _ in every):
        counts.failed += 1
        _print_failure("kunit.py", [f"ended with status {status}, though "
                                    "no case failed"])
    found = splats.findings((out / "test.log").read_text(errors="replace"))
    counts.failed += len(found)
    for excerpt in found:
        _print_failure("splat rule", excerpt.splitlines()[:8])
    return counts


def run_flavour(folder, name, symbols, expression):
    """Counts of all suites on one kernel."""
    out = folder / f"out-{name}"
    log = log_path(name)
    log.unlink(missing_ok=True)
    with hold.lock("kunit"):
        status, parsed = results(folder, log, out, symbols)
        every = list(cases(parsed))
        if not every:
            raise LabError("KUnit ran no case. The last lines:\n"
                           f"{tail(log)}\n  full log: {log}")
        counts = judge(every, folder, out, status, expression)
    if counts.failed:
        say(f"  full log: {log}, kernel log: {out}/test.log")
    return counts


def run(expression=None, everything=False):
    """The suite for ./lab test; with everything, under KASAN as well."""
    counts = Counts("kunit")
    packages.need("build", "machine", f"machine-{ARCH}")
    folder = trees.tree()
    if not (folder / SUITES / ".kunitconfig").is_file():
        say(f"kunit: there is no {SUITES}/.kunitconfig")
        counts.failed = 1
        return counts
    if not worth_running(expression, folder):
        return counts
    counts.add(run_flavour(folder, "kunit", [], expression))
    if everything:
        kasan = run_flavour(folder, "kunit-kasan", KASAN, expression)
        counts.add(kasan)
        if not kasan.failed and expression in (None, "kunit"):
            longresults.note(longresults.KASAN)
    return counts
