# SPDX-License-Identifier: GPL-2.0
"""Git as the harness uses it: untouched by the person's configuration."""

import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from . import settings
from .say import LabError

# A file's entry in a commit: its mode and the id of its content.
FILE_MODE = "100644"
PROGRAM_MODE = "100755"


def environment(extra=None):
    """The environment that gives the same result on every machine.

    Variables such as GIT_DIR are dropped as well: ./lab may be called from
    a hook of the repository it lives in.
    """
    env = {name: value for name, value in os.environ.items()
           if not name.startswith("GIT_")}
    env.update(GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL=os.devnull,
               GIT_TERMINAL_PROMPT="0", LC_ALL="C.UTF-8", TZ="UTC")
    env.update(settings.HARNESS_IDENTITY)
    env.update(extra or {})
    return env


def run(folder, *args, env=None, stdin=None):
    """Run git in a folder; the finished process, its output as bytes."""
    if isinstance(stdin, str):
        stdin = stdin.encode()
    return subprocess.run(
        ["git", *[str(arg) for arg in args]], cwd=folder, check=False,
        env=environment(env), input=stdin if stdin is not None else b"",
        capture_output=True)


def git_bytes(folder, *args, env=None, stdin=None):
    """What git prints, as bytes; LabError with git's words if it fails."""
    done = run(folder, *args, env=env, stdin=stdin)
    if done.returncode:
        raise LabError(f"git {args[0]} failed in {folder}:\n"
                       + done.stderr.decode(errors="replace").strip())
    return done.stdout


def git(folder, *args, env=None, stdin=None):
    """What git prints, as text without the last newline."""
    return git_bytes(folder, *args, env=env, stdin=stdin).decode(
        errors="replace").rstrip("\n")


def commit_of(folder, name):
    """The commit that a name stands for, or None."""
    done = run(folder, "rev-parse", "--verify", "--quiet",
               f"{name}^{{commit}}")
    return None if done.returncode else done.stdout.decode().strip()


def is_ancestor(folder, old, new):
    """Whether new stands on old."""
    return run(folder, "merge-base", "--is-ancestor", old,
               new).returncode == 0


def mode_of(path):
    """The mode that git records for a file."""
    return PROGRAM_MODE if os.access(path, os.X_OK) else FILE_MODE


def entries_of_files(folder, top, paths, store=True):
    """{path: (mode, blob)} of files below top; store keeps the blobs."""
    if not paths:
        return {}
    write = ["-w"] if store else []
    blobs = git(folder, "hash-object", *write, "--no-filters",
                "--stdin-paths",
                stdin="".join(f"{Path(top) / path}\n" for path in paths))
    return {path: (mode_of(Path(top) / path), blob)
            for path, blob in zip(paths, blobs.split("\n"))}


def changes(folder, old, new, *paths):
    """{path: (mode, blob)} of what new changed; mode 0 when deleted."""
    found = {}
    parts = git(folder, "diff-tree", "-r", "-z", "--no-renames", old, new,
                "--", *paths).split("\0")
    for head, path in zip(parts[::2], parts[1::2]):
        _, mode, _, blob, kind = head.split()
        found[path] = (None, None) if kind == "D" else (mode, blob)
    return found


@dataclass
class Commit:
    """One commit to write; changes as from changes()."""

    author: bytes
    committer: bytes
    message: bytes
    changes: dict = field(default_factory=dict)


def read_commit(folder, commit):
    """A commit as it can be written again on another parent."""
    raw = git_bytes(folder, "cat-file", "commit", commit)
    head, message = raw.split(b"\n\n", 1)
    fields = {}
    for line in head.split(b"\n"):
        name, _, value = line.partition(b" ")
        fields.setdefault(name, []).append(value)
    parents = fields.get(b"parent", [])
    if len(parents) != 1:
        raise LabError(f"commit {commit[:12]} in {folder} is a merge; the "
                       "series is a row of single commits")
    return Commit(fields[b"author"][0], fields[b"committer"][0], message,
                  changes(folder, parents[0].decode(), commit))


def harness_commit(message):
    """A commit of the harness itself, the same on every machine."""
    who = settings.HARNESS_IDENTITY
    stamp = subprocess.run(
        ["date", "-u", "-d", who["GIT_AUTHOR_DATE"], "+%s"], check=True,
        capture_output=True).stdout.strip()
    line = (f"{who['GIT_AUTHOR_NAME']} <{who['GIT_AUTHOR_EMAIL']}> "
            ).encode() + stamp + b" +0000"
    return Commit(line, line, message.encode())


def write_commits(folder, parent, commits):
    """Write commits on top of parent; their ids in order.

    Only objects are written: no work tree, no index, no branch changes.
    """
    if not commits:
        return []
    scratch = "refs/lab/scratch"
    stream = []
    for number, commit in enumerate(commits, 1):
        stream += [b"commit " + scratch.encode(), b"mark :%d" % number,
                   b"author " + commit.author,
                   b"committer " + commit.committer,
                   b"data %d\n" % len(commit.message) + commit.message,
                   b"from " + (parent.encode() if number == 1
                               else b":%d" % (number - 1))]
        for path, (mode, blob) in sorted(commit.changes.items()):
            stream.append(f"D {path}".encode() if mode is None
                          else f"M {mode} {blob} {path}".encode())
        stream.append(b"")
    marks = Path(git(folder, "rev-parse", "--absolute-git-dir"),
                 f"lab-marks.{os.getpid()}")
    try:
        git(folder, "fast-import", "--quiet", "--force",
            f"--export-marks={marks}", stdin=b"\n".join(stream))
        ids = dict(line.split() for line in marks.read_text().splitlines())
    finally:
        marks.unlink(missing_ok=True)
        run(folder, "update-ref", "-d", scratch)
    return [ids[f":{number}"] for number in range(1, len(commits) + 1)]


def rev_list(folder, old, new):
    """The commits after old up to new, oldest first."""
    return git(folder, "rev-list", "--reverse", "--topo-order",
               f"{old}..{new}").split()


# Every flag that the person's configuration could set otherwise is given.
FORMAT_FLAGS = (
    "--zero-commit", "--no-signature", "--full-index", "--no-renames",
    "--stat=72", "--summary", "-p", "--unified=3", "--inter-hunk-context=0",
    "--diff-algorithm=myers", "--indent-heuristic", "--no-ext-diff",
    "--no-textconv", "--no-color", "--word-diff=none", "--src-prefix=a/",
    "--dst-prefix=b/", "--no-relative", "--submodule=short",
    "--no-attach", "--no-thread", "--no-notes", "--no-base", "--no-to",
    "--no-cc", "--no-add-header", "--no-from", "--suffix=.patch",
    "--filename-max-length=64", "--no-encode-email-headers",
    "--encoding=UTF-8", f"-O{os.devnull}")
FORMAT_CONFIG = ("-c", "diff.suppressBlankEmpty=false", "-c",
                 "format.signOff=false", "-c",
                 "core.quotePath=true", "-c", "diff.context=3", "-c",
                 "format.mboxrd=false", "-c", "diff.interHunkContext=0")


def format_patches(folder, old, new, outdir, *flags, env=None):
    """Write the commits after old up to new as mails; their paths."""
    names = git(folder, *FORMAT_CONFIG, "format-patch", *FORMAT_FLAGS,
                "--subject-prefix=PATCH", "-o", outdir,
                *(flags or ("--no-numbered", "--no-cover-letter",
                            "--start-number=1")), f"{old}..{new}",
                env=env)
    return [Path(name) for name in names.split("\n") if name]


def subject_of(patch):
    """The subject of a patch file, without its prefix, in one line."""
    text = Path(patch).read_text(encoding="utf-8", errors="replace")
    found = re.search(r"^Subject: (.*(?:\n[ \t].*)*)", text, re.MULTILINE)
    line = re.sub(r"\s*\n\s*", " ", found.group(1)) if found else ""
    return re.sub(r"^\[PATCH[^]]*\]\s*", "", line)
