# SPDX-License-Identifier: GPL-2.0
"""./lab bench: the stock and the patched kernel, measured side by side."""

import dataclasses
import hashlib
import itertools
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from . import base as bases
from . import benchchart, benchparts, benchresults, clones, emulator, export
from . import hold, initramfs, longresults, packages, settings
from . import kernel as kernels
from . import tree as trees
from .benchparts import Subject
from .git import git
from .machine import run_logs
from .say import LabError, Progress, output_of, say

CONFIG = "bench"
REPEATS = 3
GUEST = initramfs.Contents(initramfs.GUEST / "bench",
                           ("bench-init", "bench-memory", "bench-types"))


# What a result is of

def digest(paths, *words):
    """A short value for the contents of some files, and for some words."""
    total = hashlib.sha256()
    for path in paths:
        total.update(path.name.encode() + b"\0" + path.read_bytes())
    for word in words:
        total.update(word.encode() + b"\0")
    return total.hexdigest()[:16]


def config_digest():
    """A value for the configuration, on all architectures."""
    return digest(sorted({path for arch in kernels.IMAGES
                          for path in kernels.fragments(CONFIG, arch)}))


def program_digest():
    """A value for what measures, and for the machines it does so in."""
    machines = [word for name in benchparts.MACHINES
                for spec in [benchparts.spec_of(name)]
                for word in (*spec.qemu_options([], None, 0),
                             spec.boot_line())]
    return digest([Path(benchparts.__file__),
                   *sorted(GUEST.modules.iterdir()),
                   *[initramfs.GUEST / name for name in initramfs.SCRIPTS],
                   *[initramfs.GUEST / f"{name}.c"
                     for name in GUEST.programs]],
                  str(REPEATS), *machines)


def series_digest(folder):
    """A value for the series, or for a tree that is not what is exported."""
    if export.uncommitted(folder) \
            or trees.exported(folder) != trees.digest(trees.patches()):
        return kernels.state_of(folder, [])[:16] + "-edited"
    return longresults.state()[:16]


def identity(folder):
    """What figures depend on, see benchresults.IDENTITY."""
    return {"base": bases.base().version, "qemu": emulator.version(),
            "compiler": output_of(["gcc", "--version"]).splitlines()[0],
            "config": config_digest(), "programs": program_digest(),
            "series": series_digest(folder)}


# The kernels

def peer_tree(folder):
    """A clone of a person's kernel at its commit, to be built in."""
    folder = Path(folder).resolve()
    if not (folder / ".git").exists():
        raise LabError(f"{folder} is no git checkout of a kernel")
    # There may be several of one name.
    name = "peer-" + hashlib.sha256(str(folder).encode()).hexdigest()[:8]
    return clones.work_tree_at(name, folder, git(folder, "rev-parse", "HEAD"))


def trees_of(folder, peer):
    """{who: the kernel tree}."""
    found = {"stock": clones.stock_tree(folder), "patched": folder}
    if peer:
        found["peer"] = peer_tree(peer)
    return found


def built(arch, sources):
    """{who: (kernel, its initramfs)} of an architecture."""
    found = {}
    for who, source in sources.items():
        # A peer may be so new or old that it lacks a symbol.
        try:
            kernel = kernels.build(CONFIG, arch, source, strict=who != "peer")
            found[who] = kernel, initramfs.initramfs(kernel, contents=GUEST)
        except LabError as error:
            if who != "peer":
                raise
            say(f"without the third kernel on {arch}: {error}")
    return found


def buildable(chosen, sources):
    """({arch: built kernels}, [(part, machine)]) without what cannot be.

    There need not be a compiler and an emulator for another architecture,
    unless only that is asked for.
    """
    archs = {benchparts.spec_of(machine).arch for _, machine in chosen}
    made, usable = {}, []
    for part, machine in chosen:
        arch = benchparts.spec_of(machine).arch
        if arch not in made:
            try:
                packages.need("build", "machine", f"machine-{arch}",
                              *[f"build-{arch}"] * bool(kernels.CROSS[arch]))
            except LabError as error:
                if arch == "x86_64" or len(archs) == 1:
                    raise
                say(f"left out, there is nothing for {arch}: {error}")
                made[arch] = None
            else:
                made[arch] = built(arch, sources)
        if made[arch]:
            usable.append((part, machine))
    return made, usable


# Measuring

def kept(made, folder):
    """The built kernels as copies, which no build replaces meanwhile."""
    found = {}
    for arch, each in made.items():
        for who, (kernel, initrd) in (each or {}).items():
            place = folder / f"{who}-{arch}"
            place.mkdir(parents=True)
            copy = dataclasses.replace(
                kernel, image=Path(shutil.copy(kernel.image, place)))
            found.setdefault(arch, {})[who] = (
                copy, Path(shutil.copy(initrd, place)))
    return found


def subjects(made, machine, logs):
    """What a part has to be measured on: each kernel, as often as repeated."""
    spec = benchparts.spec_of(machine)
    return [Subject(who, kernel, spec, initrd, logs / f"repeat-{repeat}")
            for repeat in range(1, REPEATS + 1)
            for who, (kernel, initrd) in made[spec.arch].items()]


def measure(part, todo, on_end=lambda: None):
    """({figure: {who: [values]}}, {who: errors}) of a part's repeats.

    Other work on the host changes no figure, so several machines run at a
    time.
    """
    found, failed = {}, {}
    with ThreadPoolExecutor(settings.jobs()) as pool:
        running = {pool.submit(benchparts.measure, part, subject): subject.who
                   for subject in todo}
        try:
            for future in as_completed(running):
                who = running[future]
                try:
                    for figure, value in future.result().items():
                        found.setdefault(figure, {}).setdefault(
                            who, []).append(value)
                # A guest that says something else than expected is no reason
                # to lose the other parts.
                except Exception as error:
                    failed.setdefault(who, []).append(
                        f"{type(error).__name__}: {error}")
                on_end()
        except BaseException:
            benchparts.stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return found, failed


def part_of(figure):
    """The part, such as vtd/map, that a figure belongs to."""
    return "/".join(figure.split("/")[:2])


def whole(unit, found, failed):
    """The figures of a part in which no boot has failed.

    Stock and patched are compared without a peer that failed.
    """
    if set(failed) - {"peer"}:
        return {}
    good = {name: {who: values for who, values in repeats.items()
                   if who not in failed}
            for name, repeats in found.items()}
    return {name: benchresults.figure(unit, repeats)
            for name, repeats in good.items() if repeats}


def in_order(figures):
    """Figures in the order of machines and parts, whenever measured."""
    order = [f"{machine}/{part.name}"
             for part, machine in benchparts.selected()]
    return dict(sorted(figures.items(),
                       key=lambda item: order.index(part_of(item[0]))))


def peer_identity(made):
    """What the peer is, for the results."""
    kernel = next((each["peer"][0] for each in made.values()
                   if each and "peer" in each), None)
    if not kernel:
        raise LabError("the third kernel cannot be built")
    return f"{kernel.release}, {git(kernel.tree, 'rev-parse', 'HEAD')}"


def show(results, measured):
    """Print the figures that were measured now, and what all of them reach."""
    say()
    for key in (*benchresults.IDENTITY, "peer"):
        if key in results:
            say(f"{key + ':':10}{results[key]}")
    for line in benchresults.table({
            name: one for name, one in results["figures"].items()
            if name in measured}):
        say(line)
    say()
    for line in benchresults.verdicts(results["figures"]):
        say(line)
    there = {part_of(name) for name in results["figures"]}
    missing = [name for part, machine in benchparts.selected()
               if (name := f"{machine}/{part.name}") not in there]
    if missing:
        say("not measured: " + ", ".join(missing))


def keep(new, figures):
    """Put a part's figures into the file; all that is there then."""
    with hold.lock("benchresults"):
        old = benchresults.known()
        results = benchresults.merged(old, {**new, "figures": figures})
        results["figures"] = in_order(results["figures"])
        benchresults.keep(results)
    lost = {part_of(name) for name in old.get("figures", ())} \
        - {part_of(name) for name in results["figures"]}
    if lost:
        say("dropped, as they were measured of something else: "
            + ", ".join(sorted(lost)))
    return results


def run(word=None, peer=None):
    """Measure the parts whose name contains a word; the exit status.

    Each part is kept when it has been measured, whatever comes after it.
    """
    chosen = benchparts.selected(word)
    packages.need("chart")
    folder = trees.tree()
    new = identity(folder)
    made, chosen = buildable(chosen, trees_of(folder, peer))
    if peer:
        new["peer"] = peer_identity(made)
    logs = run_logs("bench")
    results, measured, errors = None, set(), []
    with tempfile.TemporaryDirectory() as folder_of_kernels:
        made = kept(made, Path(folder_of_kernels))
        todo = [(f"{machine}/{part.name}", part,
                 subjects(made, machine, logs)) for part, machine in chosen]
        with Progress("measuring", sum(len(each[2]) for each in todo)) \
                as progress:
            ended = itertools.count(1)
            for name, part, each in todo:
                found, failed = measure(
                    part, each,
                    lambda name=name: progress.update(next(ended), note=name))
                errors += [f"FAILED {name}, {who}: {error}"
                           for who in failed for error in failed[who]]
                figures = whole(part.unit, found, failed)
                if figures:
                    results = keep(new, figures)
                    measured |= set(figures)
    if results:
        benchchart.draw(results)
        show(results, measured)
        say(f"written: {benchresults.RESULTS}")
    for error in errors:
        say(error)
    return 1 if errors else 0
