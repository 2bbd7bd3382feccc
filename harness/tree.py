# SPDX-License-Identifier: GPL-2.0
"""build/linux-6.12: the base, one commit of new files, the patches.

Patches are worked on there as commits; new files are edited in the
repository, and every call brings them into the tree.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import base as bases
from . import export, hold, packages, settings
from .git import (changes, commit_of, entries_of_files, format_patches, git,
                  harness_commit, is_ancestor, read_commit, rev_list, run,
                  subject_of, write_commits)
from .say import LabError, Progress, log_path, run_logged, say

BRANCH = "refs/heads/series"
BASE = "refs/lab/base"
FILES = "refs/lab/files"
# Where the patches ended when they were last applied; missing while they
# are being applied, so that an interrupted run is seen.
MADE = "refs/lab/made"
FILES_MESSAGE = ("Add the new files of the series\n\nThey are edited in the "
                 "repository, not here; every build brings them in.\n")


def patches():
    """The series' patches in order."""
    return sorted(settings.PATCHES.glob("[0-9]*.patch"))


def digest(paths):
    """One value for names and contents of patches."""
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(f"{path.name} {path.stat().st_size}\n".encode())
        total.update(path.read_bytes())
    return total.hexdigest()


def base_message(base):
    """The message of the base commit; it names the package's version."""
    return (f"Linux {base.upstream}\n\nAs in Debian's "
            f"{settings.BASE_PACKAGE} {base.version}.\n")


# Making the tree

def unpack(base, folder):
    """Unpack a base kernel's source into an empty folder."""
    size = base.tarball.stat().st_size
    with Progress(f"unpacking Linux {base.upstream}, MiB",
                  size >> 20) as progress, \
            open(base.tarball, "rb") as packed, \
            subprocess.Popen(["tar", "-xJ", "--strip-components=1",
                              "-C", folder], stdin=subprocess.PIPE) as tar:
        try:
            while chunk := packed.read(1 << 19):
                tar.stdin.write(chunk)
                progress.update(packed.tell() >> 20)
        except BrokenPipeError:
            pass
        tar.stdin.close()
        if tar.wait():
            raise LabError(f"{base.tarball} cannot be unpacked: it is "
                           "damaged, or the disk is full")


def commit_base(base, folder):
    """Make an unpacked base kernel a git repository of one commit."""
    git(folder, "init", "-q", "--initial-branch=series")
    for name, value in (("gc.auto", "0"), ("core.looseCompression", "1"),
                        ("core.autocrlf", "false"),
                        ("core.untrackedCache", "true"),
                        ("core.fileMode", "true")):
        git(folder, "config", name, value)
    # Links to folders are files for git.
    total = sum(len(names) + sum(Path(at, each).is_symlink()
                                 for each in folders)
                for at, folders, names in os.walk(folder)
                if ".git" not in Path(at).relative_to(folder).parts)
    added = 0
    with Progress("base commit, files", total) as progress:
        def count(_line):
            nonlocal added
            added += 1
            progress.update(added)
        run_logged(["git", "add", "--verbose", "--force", "--all"],
                   log_path("tree"), "adding the base to git", cwd=folder,
                   on_line=count)
    # Build folders live in the tree, so that compile lines are the same in
    # every clone. They are no part of it.
    with open(folder / ".git/info/exclude", "a", encoding="ascii") as file:
        file.write("/out-*\n")
    git(folder, "commit", "-q", "--no-verify", "-m", base_message(base))
    git(folder, "update-ref", BASE, "HEAD")


def _make(base):
    with hold.made_whole(settings.TREE) as part:
        unpack(base, part)
        commit_base(base, part)


def _base_is(base):
    return git(settings.TREE, "log", "-1", "--format=%B",
               BASE).strip() == base_message(base).strip()


# The patches

def _note(name, value):
    """Remember a value in the tree; see _noted()."""
    path = settings.TREE / ".git" / name
    part = path.with_name(name + ".part")
    part.write_text(value, encoding="ascii")
    part.rename(path)


def _noted(name):
    path = settings.TREE / ".git" / name
    return path.read_text(encoding="ascii") if path.is_file() else None


def agree(paths):
    """Remember that the tree and these patches say the same."""
    _note("lab-patches", digest(paths))


def busy(folder):
    """What git operation is under way in a work tree, or None."""
    for name, what in (("rebase-apply", "am or rebase"),
                       ("rebase-merge", "rebase"),
                       ("CHERRY_PICK_HEAD", "cherry-pick"),
                       ("MERGE_HEAD", "merge")):
        if (folder / ".git" / name).exists():
            return what
    return None


def _apply_all(files):
    """Put the new files' commit and the patches on the base, from scratch."""
    git(settings.TREE, "update-ref", "-d", MADE)
    if (settings.TREE / ".git/rebase-apply").exists():
        run(settings.TREE, "am", "--quit")
    git(settings.TREE, "symbolic-ref", "HEAD", BRANCH)
    git(settings.TREE, "reset", "-q", "--hard", files)
    git(settings.TREE, "update-ref", FILES, files)
    apply_patches(settings.TREE, patches())
    agree(patches())
    git(settings.TREE, "update-ref", MADE, "HEAD")


def apply_patches(folder, paths):
    """Plain git am of patches; a damaged one is named with git's words."""
    if not paths:
        return
    with Progress("applying patches", len(paths)) as progress:
        done = run(folder, "am", "-q", "--no-gpg-sign",
                   "--committer-date-is-author-date", *paths)
        if not done.returncode:
            progress.update(len(paths))
            return
        at = folder / ".git/rebase-apply/next"
        number = int(at.read_text()) if at.exists() else 1
        run(folder, "am", "--abort")
        words = [line for line in (done.stderr + done.stdout).decode(
            errors="replace").splitlines() if not line.startswith("hint:")]
        raise LabError(
            f"patch {paths[number - 1].name} does not apply:\n    "
            + "\n    ".join(words[-8:]))


def exported(folder, old=FILES, new="HEAD"):
    """What an export of the tree would be: a digest."""
    with tempfile.TemporaryDirectory() as out:
        return digest(format_patches(folder, old, new, out))


def _follow_patches():
    """Bring patches that changed in the repository into the tree."""
    now = digest(patches())
    if _noted("lab-patches") == now:
        return
    if exported(settings.TREE) == now:
        agree(patches())
        return
    own = (commit_of(settings.TREE, "HEAD")
           != commit_of(settings.TREE, MADE)
           and exported(settings.TREE) != _noted("lab-patches"))
    dirty = export.uncommitted(settings.TREE)
    if own or dirty or busy(settings.TREE):
        _refuse("patches changed in the repository", own, dirty)
    say("the patches changed in the repository; making the tree's commits "
        "again")
    _apply_all(commit_of(settings.TREE, FILES))


def _refuse(why, own, dirty):
    at = settings.TREE
    what = "commits that no patch has" if own else "changes: " + (
        ", ".join(dirty) or busy(at) or "")
    raise LabError(
        f"{why}, and {at} has {what}. Keep the tree's side with "
        "`./lab export` (commit first), or take the repository's side with\n"
        f"    git -C {at} stash; git -C {at} branch mine; "
        f"git -C {at} reset --hard {MADE}; ./lab tree")


# The new files

def _work_entries(paths):
    """{path: (mode, blob)} of the work tree's copies that exist."""
    there = [path for path in paths
             if os.path.lexists(settings.TREE / path)]
    return entries_of_files(settings.TREE, settings.TREE, there,
                            store=False)


def new_file_entries(folder):
    """{path: (mode, blob)} of the repository's new files, stored in folder.

    A path that the base has is refused: that is a change, thus a patch.
    """
    wanted = entries_of_files(folder, settings.ROOT, settings.new_files())
    known = git(folder, "ls-tree", "-r", "--name-only", BASE, "--",
                *wanted).split("\n") if wanted else []
    for path in wanted:
        if path in known:
            raise LabError(f"{path} is a file of the base kernel; a change "
                           "to it is a patch, not a new file")
    return wanted


def _write_files_commit(wanted):
    commit = harness_commit(FILES_MESSAGE)
    commit.changes = wanted
    new, = write_commits(settings.TREE, commit_of(settings.TREE, BASE),
                         [commit])
    return new


def sync():
    """Bring the repository's new files into the tree.

    Only the files that changed are touched, so that make sees no more than
    that; the commits above are made again without the work tree.
    """
    folder = settings.TREE
    files = commit_of(folder, FILES)
    committed = changes(folder, BASE, files)
    wanted = new_file_entries(folder)
    every = sorted({*committed, *wanted})
    work = _work_entries(every)
    for path in every:
        mine = work.get(path)
        if mine and mine not in (committed.get(path), wanted.get(path)):
            raise LabError(
                f"{path} was edited in {folder}. New files are edited in "
                "the repository: move the change there, or drop it with\n"
                f"    cp {settings.ROOT / path} {folder / path}")
    stale = [path for path in every if work.get(path) != wanted.get(path)]
    if committed == wanted and not stale:
        return
    if git(folder, "rev-parse", "--symbolic-full-name", "HEAD") == "HEAD" \
            or busy(folder):
        raise LabError(f"new files changed while a rebase or am is under "
                       f"way in {folder}; finish that first")
    _check_above(files, wanted, every)
    _copy(stale, wanted)
    git(folder, "update-index", "--add", "--remove", "-z", "--stdin",
        stdin="".join(f"{path}\0" for path in every))
    if committed != wanted:
        _replant(files, wanted, every)
    say(f"new files brought into the tree: {len(stale)} changed")


def unsynced():
    """New files whose copy in the tree is not the repository's."""
    wanted = new_file_entries(settings.TREE)
    committed = changes(settings.TREE, BASE, FILES)
    return [path for path in sorted({*committed, *wanted})
            if committed.get(path) != wanted.get(path)]


def _check_above(files, wanted, every):
    """No commit above may hold an edit of a new file that would be lost."""
    for path, entry in changes(settings.TREE, files, "HEAD",
                               *every).items() if every else []:
        if entry != wanted.get(path, (None, None)):
            raise LabError(
                f"a commit in {settings.TREE} edits {path}, a new file; "
                "new files are edited in the repository. Move the change "
                "there and drop it from the commit")


def _copy(stale, wanted):
    for path in stale:
        target = settings.TREE / path
        if path in wanted:
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(target.name + ".lab-part")
            shutil.copyfile(settings.ROOT / path, part)
            part.chmod(0o755 if wanted[path][0] == "100755" else 0o644)
            part.rename(target)
        else:
            target.unlink(missing_ok=True)
            for parent in target.relative_to(settings.TREE).parents[:-1]:
                try:
                    (settings.TREE / parent).rmdir()
                except OSError:
                    break


def _replant(files, wanted, every):
    """Make the new files' commit again, and the commits above it on it."""
    folder = settings.TREE
    new_files = _write_files_commit(wanted)
    refs = {FILES: new_files}
    for name in (BRANCH, MADE):
        old = commit_of(folder, name)
        if not old or not is_ancestor(folder, files, old):
            continue
        above = [read_commit(folder, commit)
                 for commit in rev_list(folder, files, old)]
        for commit in above:
            for path in every:
                commit.changes.pop(path, None)
        ids = write_commits(folder, new_files, above)
        refs[name] = ids[-1] if ids else new_files
    git(folder, "update-ref", "--stdin", "-m", "new files", stdin="".join(
        f"update {name} {value}\n" for name, value in refs.items()))


# All together

def check_stands():
    """The tree's commits must still stand on the commit of new files."""
    if not is_ancestor(settings.TREE, FILES, "HEAD"):
        raise LabError(
            f"the branch in {settings.TREE} no longer stands on the commit "
            f"of the new files; rebase it onto that: git -C {settings.TREE} "
            f"rebase --onto {FILES} <the commit below your first patch>")


def _current(base):
    """Whether there is a tree, made to its end and of this base."""
    if not (settings.TREE / ".git").is_dir():
        return False
    if not _base_is(base):
        own = (not commit_of(settings.TREE, MADE)
               or exported(settings.TREE) != digest(patches()))
        dirty = export.uncommitted(settings.TREE)
        if own or dirty:
            _refuse(f"the base is now {base.version}", own, dirty)
        say(f"the base is now {base.version}; making the tree again")
        return False
    return True


def tree():
    """The tree, made or brought up to date."""
    packages.need("base")
    base = bases.base()
    with hold.lock("tree"):
        if not _current(base):
            _make(base)
        if not commit_of(settings.TREE, MADE):
            _apply_all(_write_files_commit(new_file_entries(settings.TREE)))
        check_stands()
        sync()
        _follow_patches()
    return settings.TREE


def show():
    """./lab tree: make it and say what is in it."""
    folder = tree()
    base = bases.base()
    commits = rev_list(folder, FILES, "HEAD")
    files = changes(folder, BASE, FILES)
    say(f"{folder}: {settings.BASE_PACKAGE} {base.version}, "
        f"{len(files)} new files, {len(commits)} patches")
    for path in export.listed(folder):
        say(f"  {subject_of(path)}")
