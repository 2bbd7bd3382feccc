# SPDX-License-Identifier: GPL-2.0
"""The objects that the series touches, built in other configurations.

Other architectures, Debian's own configuration and the options that make
headers use their stubs, each with W=1 and sparse, and compared with the
stock kernel in the same configuration. One clone serves both: what make
has prepared for the one is mostly right for the other.
"""

import functools
import json
import lzma
import re
from dataclasses import dataclass
from pathlib import Path

from . import clones, hold, kernel, packages, settings
from . import tree as trees
from .git import git
from .say import LabError, Progress, log_path, output_of, run_logged, say
from .warned import normalised

DEBIAN = Path(f"/usr/src/linux-config-{settings.BASE_SERIES}"
              "/config.amd64_none_amd64.xz")
LIST = settings.HARNESS / "objects.mk"
# What costs time, needs more than the object's source, or makes errors of
# the warnings that are to be compared.
LEFT_OUT = ("WERROR", "DRM_WERROR", "DRM_AMDGPU_WERROR", "DRM_I915_WERROR",
            "DRM_XE_WERROR", "KVM_WERROR", "GCC_PLUGINS", "KASAN", "KCSAN",
            "KMSAN", "KCOV", "GCOV_KERNEL", "UBSAN", "MODVERSIONS", "RUST")
# Panfrost and panthor select IOMMU_SUPPORT.
NO_SUPPORT = ("# CONFIG_DRM_PANFROST is not set",
              "# CONFIG_DRM_PANTHOR is not set",
              "# CONFIG_IOMMU_SUPPORT is not set",
              "# CONFIG_IOMMU_DMA is not set")


@dataclass(frozen=True)
class Configuration:
    """allmodconfig or a packed .config, and what is to be set in it."""

    name: str
    arch: str = "x86_64"
    wanted: tuple = ()
    packed: Path = None

    @property
    def out(self):
        """The name of its build folder."""
        return "out-" + re.sub(r"[^a-z0-9]+", "-", self.name.lower())

    def fragment(self):
        """The lines that its .config must have."""
        return [*(f"# CONFIG_{each} is not set" for each in LEFT_OUT),
                "CONFIG_DEBUG_INFO_NONE=y", *self.wanted]


CONFIGURATIONS = (
    # With KUnit built in, or our suites would be in none of these.
    Configuration("x86-64 allmodconfig with IOMMUFD=m",
                  wanted=("CONFIG_IOMMUFD=m", "CONFIG_KUNIT=y")),
    Configuration("arm64 allmodconfig", "arm64", ("CONFIG_KUNIT=y",)),
    Configuration("arm allmodconfig", "arm"),
    # Left alone, allmodconfig takes a server processor, which has its own
    # IOMMU; PAMU, and the queue manager's use of it, are of the e500mc.
    Configuration("powerpc allmodconfig", "powerpc",
                  ("CONFIG_PPC_DISABLE_WERROR=y",)),
    Configuration("powerpc allmodconfig for e500mc", "powerpc",
                  ("CONFIG_PPC_DISABLE_WERROR=y", "CONFIG_PPC_BOOK3E_64=y",
                   "CONFIG_FSL_PAMU=y")),
    Configuration("x86-64 distribution config", packed=DEBIAN),
    # What else selects IOMMU_API has to go too.
    Configuration("x86-64 IOMMU_API=n", wanted=(
        *NO_SUPPORT, "# CONFIG_DRM_NOUVEAU is not set",
        "# CONFIG_VFIO is not set", "# CONFIG_XEN is not set",
        "# CONFIG_IOMMU_API is not set")),
    # On x86 only IOMMU_SUPPORT takes IOMMU_DMA away; nouveau keeps the API.
    Configuration("x86-64 IOMMU_DMA=n", wanted=(
        *NO_SUPPORT, "CONFIG_DRM_NOUVEAU=m", "CONFIG_IOMMU_API=y")),
    Configuration("x86-64 PCI=n", wanted=(
        "# CONFIG_PCI is not set", "CONFIG_IOMMU_API=y")),
)


# Which objects a configuration builds

def parse_list(lines):
    """({object: "y" or "m"}, subfolders) that objects.mk printed."""
    found, below = {}, []
    for line in lines:
        kind, _, name = line.partition(" ")
        if kind == "d":
            below.append(name)
        elif kind in ("y", "m"):
            # In both, it is in the kernel and in a module.
            found.setdefault(name, kind)
    return found, below


def built_by(listing, wanted):
    """{object: "y" or "m"} of the wanted objects that are built.

    listing(folder) gives what parse_list() does. Only folders that lead to
    a wanted object are looked into, from the top, as make descends.
    """
    found, todo = {}, ["."]
    while todo:
        here, below = listing(todo.pop())
        found.update({each: here[each] for each in wanted if each in here})
        todo += [folder for folder in below if any(
            each.startswith(folder + "/") for each in wanted)]
    return found


def configured(command, out, wanted):
    def listing(folder):
        # The folder that make says it enters is no line of ours.
        return parse_list(output_of(
            [*command, "-s", "-f", LIST, f"obj={folder}",
             "lab-list"], cwd=out).splitlines())
    return built_by(listing, wanted)


def list_command(arch):
    """The start of make with objects.mk, in a build folder."""
    source = "x86" if arch == "x86_64" else kernel.MAKE_ARCH[arch]
    return [*kernel.clean_environment(), "make", "-rR",
            "--no-print-directory", f"SRCARCH={source}", "srctree=..",
            "srcroot=..", "objtree=.", *kernel.variables(arch)]


# Symbols that modules need

def unexported(symbols, kinds):
    """What built-in objects define and modules use without an export.

    symbols is {object: lines of nm}, kinds {object: "y" or "m"}.
    """
    used, defined, exported = {}, {}, set()
    for each, lines in symbols.items():
        for line in lines:
            kind, name = line.split()[-2:]
            if kind == "U" and kinds[each] == "m":
                used.setdefault(name, each)
            elif name.startswith("__export_symbol_"):
                exported.add(name.removeprefix("__export_symbol_"))
            elif kind in "TDBR" and kinds[each] == "y":
                defined[name] = each
    return [f"{used[name]}: uses {name}, which {defined[name]} does not "
            "export" for name in sorted(set(used) & set(defined) - exported)]


# Building

def configure(folder, configuration, command, log):
    out = folder / configuration.out
    out.mkdir(exist_ok=True)
    fragment = out / ".lab-fragment"
    fragment.write_text("\n".join(configuration.fragment()) + "\n")
    what = f"configuration {configuration.name}"
    with Progress(what):
        if configuration.packed:
            (out / ".config").write_bytes(
                lzma.decompress(configuration.packed.read_bytes())
                + fragment.read_bytes())
            run_logged([*command, "olddefconfig"], log, what)
        else:
            run_logged([*command, f"KCONFIG_ALLCONFIG={fragment}",
                        "allmodconfig"], log, what)
    wrong = kernel.missed(kernel.requested([fragment]), out / ".config")
    if wrong:
        raise LabError(f"{what} cannot be had:\n    " + "\n    ".join(wrong))


def _compile(out, command, kinds, log, what):
    """The lines that make prints for the objects."""
    for each in kinds:
        (out / each).unlink(missing_ok=True)
    lines, done = [], 0
    with Progress(what, len(kinds)) as progress:
        def count(line):
            nonlocal done
            lines.append(line)
            match = kernel.OBJECT.match(line)
            if match and line.split()[-1] in kinds:
                done += 1
                progress.update(done, note=line.split()[-1])
        if kinds:
            # -O keeps each object's lines together.
            run_logged([*command, "-k", "-O", "W=1", "C=1", *sorted(kinds)],
                       log, what, on_line=count, check=False)
        progress.done = done
    return lines


@functools.cache
def _tools(arch):
    """The versions of what says something about an object."""
    gcc = output_of([f"{kernel.CROSS[arch]}gcc", "-dumpfullversion"])
    return gcc.strip(), output_of(["sparse", "--version"]).strip()


def _state(commit, configuration):
    packed = packages.installed([f"linux-config-{settings.BASE_SERIES}"]) \
        if configuration.packed else None
    return repr((commit, configuration.fragment(), configuration.arch,
                 packed, _tools(configuration.arch)))


def kept(path, state):
    """What earlier builds in the same state have found."""
    if path.is_file():
        old = json.loads(path.read_text())
        if old["state"] == state:
            return old
    return {"state": state, "asked": [], "built": [], "failed": [],
            "warnings": []}


def merged(old, found):
    """What is known of a commit after some more of its objects are built."""
    return {"state": old["state"],
            **{key: sorted({*old[key], *found[key]}) for key in found}}


def _built(folder, at, commit, configuration, wanted):
    """Build the wanted objects of one commit; what became of them.

    Of a commit that was built before, the stock kernel's above all, only
    objects that nobody has asked for yet are built.
    """
    known = settings.BUILD / "crossbuilds" / f"{configuration.out}-{at}.json"
    old = kept(known, _state(commit, configuration))
    wanted = sorted({*wanted} - {*old["asked"]})
    if not wanted:
        return old
    clone = clones.work_tree_at("cross", folder, commit)
    out = clone / configuration.out
    log = log_of(configuration, at)
    log.unlink(missing_ok=True)
    command = kernel.make_command(clone, out, configuration.arch)
    configure(clone, configuration, command, log)
    what = f"{configuration.name}, {at}"
    # With W=1 as below, or make would make it all again there.
    kernel.make_counted([*command, "W=1", "prepare"], log,
                        f"{what}: prepare")
    kinds = configured(list_command(configuration.arch), out, wanted)
    lines = _compile(out, command, kinds, log, f"{what}: objects")
    there = [each for each in sorted(kinds) if (out / each).is_file()]
    nm = f"{kernel.CROSS[configuration.arch]}nm"
    symbols = {each: output_of([nm, out / each]).splitlines()
               for each in there}
    found = {"asked": wanted, "built": there,
             "failed": [each for each in sorted(kinds)
                        if each not in there],
             "warnings": [*normalised(lines, clone),
                          *unexported(symbols, kinds)]}
    found = merged(old, found)
    known.parent.mkdir(exist_ok=True)
    part = known.with_suffix(".part")
    part.write_text(json.dumps(found, indent=1))
    part.rename(known)
    return found


def log_of(configuration, at):
    """Where make's words are kept."""
    return log_path(f"checks/cross-{configuration.out}-{at}")


def judge(ours, stock):
    """What is wrong with our objects, given the stock kernel's."""
    return [*(f"{each}: does not compile" for each in ours["failed"]
              if each not in stock["failed"]),
            *(line for line in ours["warnings"]
              if line not in stock["warnings"])]


def check(folder, configuration, wanted):
    """What the series makes worse in one configuration."""
    packages.need("build", "check", "cross")
    base = git(folder, "rev-parse", trees.BASE)
    there = git(folder, "ls-tree", "-r", "--name-only", base, "--",
                *(each[:-2] + ".c" for each in wanted)).splitlines()
    with hold.lock("crossbuilds"):
        stock = _built(folder, "stock", base, configuration,
                       [name[:-2] + ".o" for name in there])
        ours = _built(folder, "series", git(folder, "rev-parse", "HEAD"),
                      configuration, wanted)
    away = sorted({*wanted} - {*ours["built"], *ours["failed"]})
    if away:
        say(f"    not built there: {', '.join(away)}")
    neither = sorted({*ours["failed"]} & {*stock["failed"]})
    if neither:
        say(f"    not even stock's compile: {', '.join(neither)}")
    wrong = judge(ours, stock)
    if wrong:
        wrong.append(f"full log: {log_of(configuration, 'series')}")
    return wrong


def never_built(folder, wanted):
    """Touched objects that none of the configurations has."""
    packages.need("build", "check", "cross")
    left = set(wanted)
    with hold.lock("crossbuilds"):
        for configuration in CONFIGURATIONS:
            left -= {*_built(folder, "series",
                             git(folder, "rev-parse", "HEAD"),
                             configuration, wanted)["built"]}
    return [f"{each}: built in none of the configurations"
            for each in sorted(left)]


def listed(folder, wanted):
    """[(name, run)] of all there is to check."""
    found = [(f"touched objects, {each.name}",
              functools.partial(check, folder, each, wanted))
             for each in CONFIGURATIONS]
    return [*found, ("touched objects, each built somewhere",
                     functools.partial(never_built, folder, wanted))]
