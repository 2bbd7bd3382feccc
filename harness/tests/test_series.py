# SPDX-License-Identifier: GPL-2.0
"""The ways to put the series on a kernel give one and the same tree."""

import shutil
import subprocess
from pathlib import Path

import pytest

from harness import checks, series, settings, tree
from harness.git import changes, environment, git, git_bytes


@pytest.fixture(name="folder", scope="module")
def fixture_folder():
    """The tree, which has something to compare."""
    folder = tree.tree()
    assert tree.patches() and settings.new_files()
    return folder


def paths_of(folder):
    """What the series touches, and what tells that this is a kernel."""
    return sorted({*changes(folder, tree.BASE, "HEAD"), "Makefile",
                   "Kconfig", ".gitignore"})


def stock(folder, target):
    """A stock work tree with only the files that matter on disk."""
    git(folder, "clone", "-q", "--shared", "--no-checkout", folder, target)
    git(target, "sparse-checkout", "set", "--no-cone", "--stdin",
        stdin="".join(f"/{path}\n" for path in paths_of(folder)))
    git(target, "checkout", "-q", "--detach",
        git(folder, "rev-parse", tree.BASE))
    return target


def am(target, patches):
    """Plain git am, as anybody would call it."""
    subprocess.run(["git", "am", "-q", *patches], cwd=target, check=True,
                   env=environment())


def tree_of(folder):
    """The hash of everything that is committed."""
    return git(folder, "rev-parse", "HEAD^{tree}")


def test_apply(folder, tmp_path, monkeypatch):
    """./lab apply on a git tree."""
    for name, value in settings.HARNESS_IDENTITY.items():
        monkeypatch.setenv(name, value)
    theirs = stock(folder, tmp_path / "theirs")
    series.apply(theirs)
    assert tree_of(theirs) == tree_of(folder)


def test_by_hand(folder, tmp_path):
    """cp -a and git am."""
    theirs = stock(folder, tmp_path / "theirs")
    tops = [settings.ROOT / top for top in settings.NEW_FILE_ROOTS
            if (settings.ROOT / top).is_dir()]
    subprocess.run(["cp", "-a", *tops, theirs], check=True)
    # Debian's .gitignore ignores everything.
    git(theirs, "add", "--force", "--", *[top.name for top in tops])
    git(theirs, "commit", "-q", "-m", "new files")
    am(theirs, tree.patches())
    assert tree_of(theirs) == tree_of(folder)


def test_dist(folder, tmp_path):
    """./lab dist and git am."""
    mails = series.write_dist(folder, tmp_path / "dist")
    theirs = stock(folder, tmp_path / "theirs")
    am(theirs, [mail for mail in mails
                if "cover-letter" not in mail.name])
    assert tree_of(theirs) == tree_of(folder)


def test_apply_without_git(folder, tmp_path):
    """./lab apply on a folder that git knows nothing of."""
    theirs = tmp_path / "theirs"
    shutil.copytree(stock(folder, tmp_path / "stock"), theirs,
                    ignore=shutil.ignore_patterns(".git"))
    series.apply(theirs)
    for path in paths_of(folder):
        want = git_bytes(folder, "cat-file", "blob", f"HEAD:{path}")
        assert Path(theirs, path).read_bytes() == want, path


@pytest.mark.parametrize("removed", checks.REMOVED)
def test_removed_is_found_where_it_is(folder, removed):
    """The check would see it: the base has it all."""
    assert checks.left_of_removed(folder, tree.BASE, [removed])
    assert not checks.left_of_removed(folder, "HEAD", [removed])
    assert checks.left_of_removed(folder, tree.BASE, [("(", ["*.c"])])
