# SPDX-License-Identifier: GPL-2.0
"""Back from the tree's commits to patches/6.12."""

import contextlib
import shutil
import tempfile

from . import hold, settings, tree
from .git import changes, commit_of, format_patches, git, rev_list
from .say import LabError, say


def uncommitted(folder):
    """Names of files that were changed in a work tree and not committed."""
    lines = git(folder, "status", "--porcelain", "-z",
                "--untracked-files=normal", "--no-renames").split("\0")
    named = [line[3:] for line in lines if line]
    return sorted({*named, *untracked_sources(folder)})


# Debian's .gitignore ignores everything, so these are asked for by name.
SOURCES = ("*.c", "*.h", "*.S", "*.rst", "*Makefile", "*Kconfig*")
NO_SOURCES = (":!/out-*", ":!/tools")


def untracked_sources(folder):
    """Source files in a work tree that git does not know."""
    return [name for name in git(
        folder, "ls-files", "-z", "--others", "--", *SOURCES,
        *NO_SOURCES).split("\0") if name]


def _check_paths(folder):
    """A patch changes what the base has; new files are files here."""
    new_files = changes(folder, tree.BASE, tree.FILES)
    for commit in rev_list(folder, tree.FILES, "HEAD"):
        for path in changes(folder, f"{commit}^", commit):
            if path in new_files:
                subject = git(folder, "log", "-1", "--format=%s", commit)
                raise LabError(
                    f"the commit \"{subject}\" changes {path}, a new file. "
                    "New files are edited in the repository: move the "
                    "change there and drop it from the commit")


@contextlib.contextmanager
def _formatted(folder):
    with tempfile.TemporaryDirectory() as out:
        yield format_patches(folder, tree.FILES, "HEAD", out)


def listed(folder):
    """The patches that the tree's commits are, as files; then removed."""
    with _formatted(folder) as paths:
        yield from paths


def _ready():
    """The tree, if it can be exported."""
    folder = settings.TREE
    if not (folder / ".git").is_dir() or not commit_of(folder, tree.MADE):
        raise LabError("there is no tree to export; ./lab tree makes it")
    under_way = tree.busy(folder)
    if under_way:
        raise LabError(f"{under_way} under way in {folder}; finish it first")
    dirty = uncommitted(folder)
    if dirty:
        raise LabError(f"{folder} has changes that are not committed: "
                       + ", ".join(dirty))
    tree.check_stands()
    _check_paths(folder)
    return folder


def _swap(paths):
    """Replace the patches of patches/6.12, and nothing else there."""
    with hold.made_whole(settings.PATCHES) as part:
        if settings.PATCHES.is_dir():
            for other in settings.PATCHES.iterdir():
                if other not in tree.patches():
                    shutil.copy2(other, part)
        for path in paths:
            shutil.copyfile(path, part / path.name)


def run():
    """./lab export: write the tree's commits as patches."""
    with hold.lock("tree"), _formatted(_ready()) as paths:
        if tree.digest(paths) == tree.digest(tree.patches()):
            say(f"{settings.PATCHES} is what the tree has: "
                f"{len(paths)} patches")
        else:
            _swap(paths)
            say(f"{len(paths)} patches written to {settings.PATCHES}")
        tree.agree(tree.patches())


def differences():
    """One line for everything in which tree and patches disagree."""
    with hold.lock("tree"), _formatted(_ready()) as paths:
        mine = {path.name: path.read_text(errors="replace")
                for path in paths}
        theirs = {path.name: path.read_text(errors="replace")
                  for path in tree.patches()}
        found = []
        for name in sorted({*mine, *theirs}):
            if name not in theirs:
                found.append(f"{name}: in the tree, not in patches")
            elif name not in mine:
                found.append(f"{name}: in patches, not in the tree")
            elif mine[name] != theirs[name]:
                found.append(f"{name}: {_first(theirs[name], mine[name])}")
        found += [f"{path}: the new file is not in the tree as it is here"
                  for path in tree.unsynced()]
    return found


def _first(old, new):
    """Where two texts begin to differ, in a few words."""
    pairs = zip(old.splitlines(), new.splitlines())
    for number, (one, other) in enumerate(pairs, 1):
        if one != other:
            return (f"line {number} is \"{one.strip()[:60]}\", the tree has "
                    f"\"{other.strip()[:60]}\"")
    return "one is longer than the other"


def check():
    """./lab export --check: status 1 and a line for every difference."""
    found = differences()
    for line in found:
        say(line)
    if found:
        raise LabError(f"tree and patches disagree: {len(found)} "
                       "differences; ./lab export or ./lab tree mends that")
    say("tree and patches agree")
