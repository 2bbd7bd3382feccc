# SPDX-License-Identifier: GPL-2.0
"""Static checks: style, warnings, documents; each one is one count."""

import difflib
import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from . import base as bases
from . import clones, crossbuilds, documents, export, hold, kernel
from . import longresults, machinespec, packages, series, settings
from . import tree as trees
from .counts import Counts
from .git import changes, git, rev_list, run as run_git
from .say import LabError, Progress, log_path, run_logged, say
from .warned import normalised

CONFIG = "test"
ARCH = "x86_64"
# Folders whose .c files a kernel build compiles.
COMPILED = ("arch/x86/", "block/", "drivers/", "fs/", "init/", "kernel/",
            "lib/", "mm/", "net/", "security/")
# What no build of the test kernel reads.
NOT_BUILT = (".", ":!Documentation", ":!MAINTAINERS", ":!tools/testing",
             ":!drivers/iommu/tests")
# Not run on the whole of the present series yet: a default run asks for no
# record of these. To be taken out one by one as --all has run them.
NOT_SEEN_YET = ("touched objects", "second 6.12.y",
                "machine tests under KASAN",
                longresults.KASAN, longresults.GROUPS, longresults.IOMMUFD)
CAMEL_CASE = re.compile("CAMELCASE: Avoid CamelCase: <(.*)>")
# Of VT-d's registers and the kernel's own comments.
KNOWN_WORDS = "funcions,nd,pass-thru,statics"
# What the series removes, as patterns of git grep, and where nothing may be
# left of it
REMOVED = (
    (r"\b(iommu_domain_alloc|iommu_present)\b",
     ("*.c", "*.h", "Documentation")),
    (r"(->|\.)domain_alloc[[:space:]]*(=|\()", ("*.c",)),
    (r"\b((intel_iommu_|)(alloc_domain|domain_alloc)|md_domain_init|"
     r"guestwidth_to_adjustwidth|"
     r"domain_update_iommu_(cap|coherency|superpage))\b",
     ("drivers/iommu/intel",)),
)
WITHOUT_SPDX = ("README.md", "LICENSE", "MAINTAINERS", ".gitignore")
WITHOUT_SPDX_ENDS = (".json", ".patch", ".txt", ".config", ".toml",
                     ".kunitconfig", ".gitignore", ".md")


@dataclass
class Check:
    """One check: run() returns what is wrong, one line each."""

    name: str
    run: Callable
    # Only --all runs it, and what it has seen is recorded.
    long: bool = False
    # What it depends on, when that is less than the series.
    state: str = None


# What there is to check

def repository_files():
    """Every file of the repository that is ours, as git would commit it."""
    names = git(settings.ROOT, "ls-files", "-z", "--cached", "--others",
                "--exclude-standard").split("\0")
    return sorted(name for name in names
                  if name and (settings.ROOT / name).is_file())


def _first_line(name):
    with open(settings.ROOT / name, "rb") as file:
        return file.readline(200)


def shell_scripts(names):
    """Those of the files that are shell scripts."""
    return [name for name in names if name.endswith(".sh")
            or re.match(rb"#!.*\b(?:ba|da)?sh\b", _first_line(name))]


def python_files(names):
    """Those of the files that are Python."""
    return [name for name in names if name.endswith(".py")
            or re.match(rb"#!.*\bpython3?\b", _first_line(name))]


def code(names):
    """C files and headers."""
    return [name for name in names if name.endswith((".c", ".h"))]


def touched_files(folder):
    """Files of the base that the patches change."""
    return sorted(path for path, (mode, _) in changes(
        folder, trees.FILES, "HEAD").items() if mode)


def objects(folder):
    """The objects that the series adds or touches."""
    names = [name for name in [*settings.new_files(),
                               *touched_files(folder)]
             if name.endswith(".c") and name.startswith(COMPILED)]
    return sorted({name[:-2] + ".o" for name in names})


def left_of_removed(folder, commit="HEAD", removed=REMOVED):
    """Lines of a commit that name what the series removes."""
    found = []
    for pattern, paths in removed:
        done = run_git(folder, "grep", "-nE", pattern, commit, "--", *paths)
        # git grep's status when nothing matches is 1.
        said = done.stdout if done.returncode in (0, 1) else done.stderr
        found += said.decode().splitlines()
    return found


# Tools that print what is wrong

def printed(argv, cwd, fine=(0,)):
    """Lines that a checker prints when it is not content."""
    done = subprocess.run([str(arg) for arg in argv], cwd=cwd, check=False,
                          capture_output=True, text=True, errors="replace")
    lines = [line for line in (done.stdout + done.stderr).splitlines()
             if line.strip()]
    if done.returncode in fine:
        return []
    return lines or [f"{argv[0]} ended with status {done.returncode}"]


def checkpatch(folder, *what):
    """What the tree's checkpatch.pl says about a patch or a file."""
    said = printed(["perl", "scripts/checkpatch.pl", "--strict",
                    "--no-signoff", "--no-summary", "--terse",
                    "--show-types", "--color=never", *what], folder)
    return [line for line in said if not is_name_of_base(folder, line)]


def is_name_of_base(folder, line):
    """Whether a complaint is of a name that IOMMU drivers had before."""
    found = CAMEL_CASE.search(line)
    return found and not run_git(folder, "grep", "-qw", found[1], trees.BASE,
                                 "--", "drivers/iommu").returncode


def spdx(names):
    """Files without an SPDX line near their beginning."""
    missing = []
    for name in names:
        if name in WITHOUT_SPDX or name.endswith(WITHOUT_SPDX_ENDS):
            continue
        text = (settings.ROOT / name).read_bytes()
        if text and b"SPDX-License-Identifier:" not in text[:600]:
            missing.append(f"{name}: no SPDX-License-Identifier line")
    return missing


def kernel_doc(folder, name):
    """What kernel-doc says about a file, without line numbers."""
    done = subprocess.run(["perl", "scripts/kernel-doc", "-none", "-Werror",
                           name], cwd=folder, check=False,
                          capture_output=True, text=True, errors="replace")
    return [re.sub(r"^\S+?:\d+: ", "", line)
            for line in done.stderr.splitlines()
            if "warning:" in line or "error:" in line]


def kernel_doc_beyond_stock(folder, name):
    """What kernel-doc says about a touched file and not about stock's."""
    with tempfile.TemporaryDirectory() as at:
        stock = Path(at) / Path(name).name
        text = run_git(folder, "cat-file", "blob", f"{trees.BASE}:{name}")
        stock.write_bytes(text.stdout)
        known = kernel_doc(folder, stock) if not text.returncode else []
    return [line for line in kernel_doc(folder, name) if line not in known]


def maintainers(folder):
    """Where MAINTAINERS here and what the series adds to it differ."""
    ours = (settings.ROOT / "MAINTAINERS").read_text(encoding="utf-8")
    added = series.added_lines(folder, trees.BASE, "HEAD").get(
        "MAINTAINERS", "")
    return [line for line in difflib.unified_diff(
        ours.split(), added.split(), "MAINTAINERS", "the patches", n=0,
        lineterm="")] if ours.strip() != added.strip() else []


# sparse and W=1

def fragments(folder):
    """The test kernel's fragments, and what the KUnit suites ask for."""
    found = kernel.fragments(CONFIG, ARCH)
    suites = folder / "drivers/iommu/tests/.kunitconfig"
    return [*found, suites] if suites.is_file() else found


def warnings(folder, wanted, name="warnings"):
    """{object: [warnings]} of sparse and W=1, for objects of a tree."""
    packages.need("build", "check")
    out = folder / f"out-{name}"
    kept = out / ".lab-warnings"
    state = repr((kernel.state_of(folder, fragments(folder)), wanted))
    if kept.is_file():
        old = json.loads(kept.read_text())
        if old["state"] == state:
            return old["found"]
    found = {}
    with hold.lock(f"kernel-{folder.name}-{out.name}"):
        log = log_path(f"checks/{folder.name}-{name}")
        log.unlink(missing_ok=True)
        kernel.configure(folder, out, fragments(folder), ARCH)
        command = kernel.make_command(folder, out, ARCH)
        kernel.make_counted([*command, "prepare"], log, "warnings, prepare")
        with Progress("sparse and W=1, objects", len(wanted)) as progress:
            for number, each in enumerate(wanted, 1):
                (out / each).unlink(missing_ok=True)
                lines = []
                status = run_logged([*command, "W=1", "C=1", each], log,
                                    each, on_line=lines.append, check=False)
                found[each] = normalised(lines, folder)
                if status and not any("error:" in line
                                      for line in found[each]):
                    found[each].append(f"{each}: does not compile, see "
                                       f"{log}")
                progress.update(number, note=each)
                progress.done = number
    part = kept.with_name(kept.name + ".part")
    part.write_text(json.dumps({"state": state, "found": found}))
    part.rename(kept)
    return found


def reference_path():
    """The stock kernel's warnings; of the pinned base if of no other."""
    names = [f"{upstream}-{ARCH}-{CONFIG}-warnings.txt"
             for upstream in (bases.base().upstream,
                              bases.upstream_of(settings.BASE_VERSION))]
    for name in names:
        if (settings.REFERENCE / name).is_file():
            return settings.REFERENCE / name
    return settings.REFERENCE / names[0]


def reference():
    """(objects covered, warnings) of the stock kernel."""
    path = reference_path()
    covered, known = set(), set()
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("# object "):
                covered.add(line.removeprefix("# object "))
            elif line and not line.startswith("#"):
                known.add(line)
    return covered, known


def regenerate():
    """Write the stock reference for the objects that the series touches."""
    folder = trees.tree()
    stock = clones.stock_tree(folder)
    there = [each for each in objects(folder)
             if (stock / (each[:-2] + ".c")).is_file()]
    found = warnings(stock, there)
    upstream = bases.base().upstream
    path = settings.REFERENCE / f"{upstream}-{ARCH}-{CONFIG}-warnings.txt"
    text = [f"# What sparse and W=1 say about stock Linux {upstream}, without",
            "# line numbers; written by ./lab test --all -k reference.",
            *[f"# object {each}" for each in there],
            *sorted({line for lines in found.values() for line in lines})]
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    if before != "\n".join(text) + "\n":
        say(f"written: {path}")
    return []


class Warnings:
    """The warnings of all objects, built once and shared by the checks."""

    def __init__(self, folder):
        self.folder = folder
        self.found = None

    def beyond_stock(self, each, wanted):
        """What is said about an object and not about the stock kernel's."""
        if self.found is None:
            self.found = warnings(self.folder, wanted)
        covered, known = reference()
        if each not in covered and run_git(
                self.folder, "cat-file", "-e",
                f"{trees.BASE}:{each[:-2]}.c").returncode == 0:
            return [f"{each} is not in {reference_path().name}; "
                    "./lab test --all -k reference adds it"]
        # What not even stock compiles here is crossbuilds' to build.
        broken = f"{each[:-2]}.c: error: "
        hopeless = any(line.startswith(broken) for line in known)
        return [line for line in self.found[each] if line not in known
                and not (hopeless and line.startswith(broken))]


# The list of checks

def dist_of(folder):
    """(commits of the mailing-list form, what is wrong with it)."""
    try:
        return series.dist_commits(folder), []
    except LabError as error:
        return [], str(error).splitlines()


def quick_checks(folder):
    """Checks of the repository and of the series as it is."""
    names = repository_files()
    ours = settings.new_files()
    listed = [Check("export --check", export.differences),
              Check("dist: each new file has its patch",
                    lambda: dist_of(folder)[1]),
              Check("MAINTAINERS", lambda: maintainers(folder)),
              Check("SPDX lines", lambda: spdx(names)),
              Check("removed interfaces", lambda: left_of_removed(folder)),
              Check("ABI", lambda: documents.abi(folder)),
              Check("htmldocs", lambda: documents.htmldocs(folder))]
    listed += [Check(f"checkpatch {path.name}",
                     lambda path=path: checkpatch(folder, path))
               for path in trees.patches()]
    # checkpatch knows only some kinds of files.
    listed += [Check(f"checkpatch {name}",
                     lambda name=name: checkpatch(folder, "-f", name))
               for name in ours]
    listed += [Check(f"shellcheck {name}", lambda name=name: printed(
        ["shellcheck", "--color=never", "-f", "gcc", name], settings.ROOT))
        for name in shell_scripts(names)]
    listed.append(Check("flake8", lambda: printed(
        ["flake8", *python_files(names)], settings.ROOT)))
    listed.append(Check("codespell", lambda: printed(
        ["codespell", "-L", KNOWN_WORDS, *codespell_files(names)],
        settings.ROOT)))
    listed += [Check(f"kernel-doc {name}",
                     lambda name=name: kernel_doc(folder, name))
               for name in code(ours)]
    listed += [Check(f"kernel-doc {name}", lambda name=name:
                     kernel_doc_beyond_stock(folder, name))
               for name in code(touched_files(folder))]
    return listed


def codespell_files(names):
    """Files whose words are ours: new files, patches, README."""
    patches = [str(path.relative_to(settings.ROOT))
               for path in settings.PATCHES.glob("*")]
    texts = [name for name in names if name.endswith(".md")]
    return sorted({*settings.new_files(), *patches, *texts})


def build_checks(folder):
    """sparse and W=1, one check for every object."""
    shared = Warnings(folder)
    wanted = objects(folder)
    return [Check(f"sparse and W=1 {each}",
                  lambda each=each: shared.beyond_stock(each, wanted))
            for each in wanted]


# What --all adds

def _built_at(name, folder, commit):
    """Build the test kernel of one commit, in a clone for such builds."""
    try:
        kernel.build(CONFIG, ARCH, clones.work_tree_at(name, folder, commit))
    except LabError as error:
        return str(error).splitlines()
    return []


def without_makefile(folder, commit):
    """New files that no Makefile of a commit names: as good as not there."""
    left_out = []
    for name in settings.new_files():
        path = Path(name)
        if path.suffix in (".c", ".h") and f"{path.stem}.o" not in run_git(
                folder, "show", f"{commit}:{path.parent}/Makefile"
                ).stdout.decode():
            left_out.append(f":!{name}")
    return left_out


def build_state(folder, commit):
    """One value for what the test kernel of a commit is built from."""
    total = hashlib.sha256(bases.base().version.encode())
    for path in kernel.fragments(CONFIG, ARCH):
        total.update(path.name.encode() + path.read_bytes())
    total.update(git(folder, "diff", "--raw", "--no-abbrev", "--no-renames",
                     trees.BASE, commit, "--", *NOT_BUILT,
                     *without_makefile(folder, commit)).encode())
    return total.hexdigest()


def each_patch(folder):
    """Every patch, and every dist patch, builds by itself."""
    commits = [("builds", commit)
               for commit in rev_list(folder, trees.FILES, "HEAD")]
    commits += [("dist builds", commit) for commit in dist_of(folder)[0]]
    return [_build_check(folder, kind, commit) for kind, commit in commits]


def _build_check(folder, kind, commit):
    state = build_state(folder, commit)
    subject = git(folder, "log", "-1", "--format=%s", commit)

    def run():
        # A dist patch is made of the same sources as its patch.
        if longresults.has_passed(state):
            return []
        return _built_at("each", folder, commit)

    return Check(f"{kind}: {subject}", run, long=True, state=state)


def second_version():
    """The series applies to, and builds on, another 6.12.y."""
    other = bases.second()
    say(f"second version: {settings.BASE_PACKAGE} {other.version}")
    target = settings.BUILD / f"linux-{other.upstream}"
    shutil.rmtree(target, ignore_errors=True)
    with hold.made_whole(target) as part:
        trees.unpack(other, part)
        trees.commit_base(other, part)
    # The person whose tree it is to `apply` need not have told git a name.
    git(target, "config", "user.name", "lab")
    git(target, "config", "user.email", "lab@localhost")
    try:
        series.apply(target)
        kernel.build(CONFIG, ARCH, target)
    except LabError as error:
        return str(error).splitlines()
    return []


def long_checks(folder):
    """The checks that take a build or more each."""
    return [Check("stock reference", regenerate, long=True),
            *each_patch(folder),
            *(Check(name, run, long=True) for name, run
              in crossbuilds.listed(folder, objects(folder))),
            Check("second 6.12.y", second_version, long=True)]


def long_names(folder):
    """{check: state} that longresults has a record of, when all is well."""
    states = {check.name: check.state for check in long_checks(folder)}
    states.update(dict.fromkeys((longresults.KASAN, longresults.GROUPS,
                                 longresults.IOMMUFD)))
    seen = longresults.state(programs=True)
    states.update({longresults.under_kasan(spec.name): seen
                   for spec in machinespec.specs() if spec.under_kasan})
    # A default run has those of the others itself.
    states.update({longresults.on_machine(spec.name): seen
                   for spec in machinespec.specs() if spec.only_in_all})
    return states


def asked_for(states):
    """Those of long_names() that a default run asks a record of."""
    return {name: state for name, state in states.items()
            if not name.startswith(NOT_SEEN_YET)}


# Running them

def report(check, counts):
    """Run one check and say how it went."""
    try:
        wrong = check.run()
    except LabError as error:
        wrong = str(error).splitlines()
    say(f"{'FAILED' if wrong else 'ok'} {check.name}")
    for line in wrong[:20]:
        say(f"    {line}")
    if len(wrong) > 20:
        log = log_path(f"checks/{re.sub(r'[^A-Za-z0-9.]+', '-', check.name)}")
        log.write_text("\n".join(wrong) + "\n", encoding="utf-8")
        say(f"    ... {len(wrong)} lines, all of them in {log}")
    if wrong:
        counts.failed += 1
    else:
        counts.passed += 1
        if check.long:
            longresults.note(check.name, check.state)


def run(expression=None, everything=False):
    """The suite for ./lab test."""
    counts = Counts("checks")
    folder = trees.tree()
    listed = [*quick_checks(folder), *build_checks(folder)]
    if everything:
        listed = [*long_checks(folder), *listed]
        if not dist_of(folder)[1]:
            longresults.forget_others(long_names(folder))
    else:
        listed.append(Check("--all has passed with this series",
                            lambda: longresults.stale(
                                asked_for(long_names(folder)))))
    chosen = [check for check in listed
              if expression is None or expression in check.name]
    if chosen:
        packages.need("check")
    for check in chosen:
        report(check, counts)
    return counts
