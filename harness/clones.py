# SPDX-License-Identifier: GPL-2.0
"""Clones of the tree, which share its objects, for builds of other commits."""

from . import hold, settings
from . import tree as trees
from .git import commit_of, git
from .say import Progress


def clone_at(folder, target, commit):
    """A clone of the tree that shares its objects, at a commit."""
    with hold.made_whole(target) as part:
        git(folder, "clone", "-q", "--shared", "--no-checkout", folder, part)
        with open(part / ".git/info/exclude", "a",
                  encoding="ascii") as file:
            file.write("/out-*\n")
        git(part, "checkout", "-q", "--detach",
            git(folder, "rev-parse", commit))
    return target


def stock_tree(folder):
    """The base alone, as a work tree beside the tree."""
    stock = settings.BUILD / f"{folder.name}-stock"
    with hold.lock(stock.name):
        # The base may be another one by now.
        if not (stock / ".git").is_dir() or commit_of(
                stock, "HEAD") != commit_of(folder, trees.BASE):
            with Progress("checking out the stock base"):
                clone_at(folder, stock, trees.BASE)
    return stock


def work_tree_at(name, folder, commit):
    """The clone called name at a commit; it has the tree's objects.

    But not those that a shallow one has got since, for its HEAD.
    """
    clone = settings.BUILD / f"{folder.name}-{name}"
    with hold.lock(clone.name):
        if not (clone / ".git").is_dir():
            with Progress(f"clone for {name}"):
                clone_at(folder, clone, commit)
        elif (folder / ".git/shallow").is_file():
            git(clone, "fetch", "-q", "--update-shallow", folder, "HEAD")
        git(clone, "checkout", "-q", "--force", "--detach", commit)
    return clone
