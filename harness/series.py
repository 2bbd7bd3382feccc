# SPDX-License-Identifier: GPL-2.0
"""The series for others: onto their tree, or as mails for a list."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import export, hold, settings, tree
from .git import (changes, commit_of, format_patches, git, git_bytes,
                  read_commit, rev_list, subject_of, write_commits)
from .say import LabError, say

COVER = "cover-letter.txt"
SUBMITTED_FILES = "Add the new files of the series"


# apply: onto somebody's tree

def kernel_version(folder):
    """The version of a kernel tree, such as 6.12.117."""
    makefile = folder / "Makefile"
    text = makefile.read_text(errors="replace") if makefile.is_file() else ""
    found = dict(re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL) = (\d+)$",
                            text, re.MULTILINE))
    if len(found) != 3 or not (folder / "Kconfig").is_file():
        raise LabError(f"{folder} is no Linux kernel tree")
    return ".".join(found[part]
                    for part in ("VERSION", "PATCHLEVEL", "SUBLEVEL"))


def _their_git(folder, *args, env=None, stdin=None):
    """Git with the person's own configuration: it is their tree."""
    clean = {name: value for name, value in os.environ.items()
             if not name.startswith("GIT_")
             or name.startswith(("GIT_AUTHOR_", "GIT_COMMITTER_"))}
    return subprocess.run(["git", *[str(arg) for arg in args]], cwd=folder,
                          check=False, capture_output=True, text=True,
                          errors="replace", input=stdin or "",
                          env={**clean, **(env or {}), "LC_ALL": "C.UTF-8"})


def _is_git(folder):
    done = _their_git(folder, "rev-parse", "--show-toplevel")
    return not done.returncode and \
        Path(done.stdout.strip()).resolve() == folder


def touched(patch):
    """The paths that a patch changes."""
    text = patch.read_text(encoding="utf-8", errors="replace")
    return sorted(set(re.findall(r"^(?:---|\+\+\+) [ab]/(\S+)$", text,
                                 re.MULTILINE)))


def _try_on_copy(folder):
    """The touched files with the series applied, in a folder of their own.

    DIR itself is only written to when everything is known to apply.
    """
    scratch = Path(tempfile.mkdtemp(prefix="lab-apply."))
    try:
        for path in sorted({each for patch in tree.patches()
                            for each in touched(patch)}):
            if (folder / path).is_file():
                (scratch / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(folder / path, scratch / path)
        for patch in tree.patches():
            done = _their_git(scratch, "apply", "--whitespace=nowarn", patch,
                              env={"GIT_CEILING_DIRECTORIES":
                                   str(scratch.parent)})
            if done.returncode:
                raise LabError(
                    f"patch {patch.name} does not apply to Linux "
                    f"{kernel_version(folder)} in {folder}, which is left "
                    "as it was:\n    "
                    + done.stderr.strip().replace("\n", "\n    "))
    except BaseException:
        shutil.rmtree(scratch)
        raise
    return scratch


def _already(folder):
    """Whether DIR has the series: every patch can be taken back."""
    new_files = settings.new_files()
    same = all((folder / path).is_file() and (folder / path).read_bytes()
               == (settings.ROOT / path).read_bytes() for path in new_files)
    if not same or not (new_files or tree.patches()):
        return False
    with tempfile.TemporaryDirectory(prefix="lab-apply.") as name:
        scratch = Path(name)
        for patch in tree.patches():
            for path in touched(patch):
                if (folder / path).is_file():
                    (scratch / path).parent.mkdir(parents=True,
                                                  exist_ok=True)
                    shutil.copy2(folder / path, scratch / path)
        return all(not _their_git(
            scratch, "apply", "-R", "--whitespace=nowarn", patch,
            env={"GIT_CEILING_DIRECTORIES": str(scratch.parent)}).returncode
            for patch in reversed(tree.patches()))


def _copy_new_files(folder):
    for path in settings.new_files():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(settings.ROOT / path, folder / path)


def _in_the_way(folder):
    return [path for path in settings.new_files()
            if os.path.lexists(folder / path)]


def apply(name):
    """./lab apply DIR: the series onto a 6.12.y tree, all or nothing."""
    folder = Path(name).expanduser().resolve()
    if not folder.is_dir():
        raise LabError(f"{name} is no folder")
    version = kernel_version(folder)
    if not version.startswith(settings.BASE_SERIES + "."):
        raise LabError(f"{folder} is Linux {version}; the series is for "
                       f"{settings.BASE_SERIES}.y")
    if _already(folder):
        say(f"{folder} has the series already")
        return
    if not settings.new_files() and not tree.patches():
        raise LabError("there are no patches and no new files to apply")
    is_git = _is_git(folder)
    if is_git:
        dirty = _their_git(folder, "status", "--porcelain").stdout.split("\n")
        if dirty != [""]:
            raise LabError(f"{folder} has changes that are not committed, "
                           f"such as {dirty[0][3:]}")
    there = _in_the_way(folder)
    if there:
        raise LabError(f"{folder} has a file already that the series adds: "
                       + ", ".join(there))
    scratch = _try_on_copy(folder)
    try:
        if is_git:
            _apply_commits(folder)
        else:
            _apply_files(folder, scratch)
    finally:
        shutil.rmtree(scratch)
    say(f"{len(settings.new_files())} new files and {len(tree.patches())} "
        f"patches are in {folder} (Linux {version})"
        + (", as commits" if is_git else ""))


def _apply_files(folder, scratch):
    _copy_new_files(folder)
    for patch in tree.patches():
        for path in touched(patch):
            if (scratch / path).is_file():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                # Without the time: make has to see the change.
                shutil.copyfile(scratch / path, folder / path)
                shutil.copymode(scratch / path, folder / path)
            else:
                (folder / path).unlink(missing_ok=True)


def _apply_commits(folder):
    start = _their_git(folder, "rev-parse", "HEAD").stdout.strip()
    try:
        _must(folder, "var", "GIT_COMMITTER_IDENT")
        if settings.new_files():
            _copy_new_files(folder)
            _must(folder, "add", "--force", "--", *settings.new_files())
            _must(folder, "commit", "-q", "-m", SUBMITTED_FILES)
        if tree.patches():
            _must(folder, "am", "-q", *tree.patches())
    except BaseException:
        # It was clean before, so this puts back what was there.
        _their_git(folder, "am", "--abort")
        _their_git(folder, "reset", "-q", "--hard", start)
        raise


def _must(folder, *args):
    done = _their_git(folder, *args)
    if done.returncode:
        raise LabError(f"git {args[0]} failed in {folder}, which is left as "
                       f"it was:\n{(done.stderr or done.stdout).strip()}")
    return done.stdout


# dist: each new file in the patch that first builds it

def names_in(path, text):
    """The repository paths that a line of a file may name, as a pattern.

    path is the file that the text is in or was added to.
    """
    folder = Path(path).parent
    name = Path(path).name
    found = set()

    def add(base, word):
        found.add(os.path.normpath(base / word))

    if name in ("Makefile", "Kbuild"):
        for word in re.findall(r"[\w./-]+", text):
            if word.endswith(".o"):
                for end in (".c", ".S"):
                    add(folder, word[:-2] + end)
            else:
                add(folder, word)
                add(folder, word + ".c")
                add(folder, word + "/Makefile")
    elif name.startswith("Kconfig"):
        for word in re.findall(r'source\s+"([^"]+)"', text):
            add(Path(""), word)
    elif path.endswith(".rst"):
        for word in re.findall(r"[\w./-]+", text):
            add(folder, word if word.endswith(".rst") else word + ".rst")
    if path.endswith((".c", ".h", ".S")):
        for word in re.findall(r'#\s*include\s*"([^"]+)"', text):
            add(folder, word)
            add(Path("include"), word)
        for word in re.findall(r"#\s*include\s*<([^>]+)>", text):
            add(Path("include"), word)
            add(Path("include/uapi"), word)
    # A path written in full, for example in MAINTAINERS or a document.
    for word in re.findall(r"[\w.+-]+(?:/[\w.+-]+)+", text):
        found.add(word.rstrip("."))
    return found


def added_lines(folder, old, new):
    """{path: text} of the lines that a commit adds."""
    text = git_bytes(folder, "diff-tree", "-p", "-U0", "--no-renames",
                     "--no-ext-diff", "--src-prefix=a/", "--dst-prefix=b/",
                     old, new).decode(errors="replace")
    found = {}
    path = None
    for line in text.splitlines():
        if line.startswith("+++ b/"):
            path = line[6:]
        elif line.startswith("+") and path and not line.startswith("+++ "):
            found[path] = found.get(path, "") + line[1:] + "\n"
    return found


def adoptions(new_files, patches):
    """[paths adopted by the first patch, by the second, ...].

    new_files is {path: text}, patches a list of {path: added text}. A file
    goes into the patch that first names it; what an adopted file names goes
    with it, and what nothing names with the first file of its folder.
    """
    left = set(new_files)
    rows = []
    for patch in patches:
        row = []
        todo = list(patch.items())
        while todo:
            path, text = todo.pop()
            for named in sorted(names_in(path, text) & left):
                left.discard(named)
                row.append(named)
                todo.append((named, new_files[named]))
        rows.append(row)
    for path in sorted(left):
        folder = Path(path).parent
        for row in rows:
            if any(Path(other).parent == folder for other in row):
                row.append(path)
                left.discard(path)
                break
    if left:
        raise LabError("no patch builds or names this new file: "
                       + ", ".join(sorted(left)))
    return rows


def dist_commits(folder):
    """Write the mailing-list form as commits on the base; their ids."""
    old = commit_of(folder, tree.FILES)
    commits = rev_list(folder, old, "HEAD")
    entries = changes(folder, tree.BASE, old)
    texts = {path: git_bytes(folder, "cat-file", "blob", blob).decode(
        errors="replace") for path, (_, blob) in entries.items()}
    rows = adoptions(texts, [added_lines(folder, f"{commit}^", commit)
                             for commit in commits])
    written = []
    for commit, row in zip(commits, rows):
        each = read_commit(folder, commit)
        each.changes.update({path: entries[path] for path in row})
        written.append(each)
    return write_commits(folder, commit_of(folder, tree.BASE), written)


def _cover_letter(folder, out, total, old, new):
    cover = settings.PATCHES / COVER
    if not cover.is_file():
        raise LabError(f"{cover.relative_to(settings.ROOT)} is missing: its "
                       "first line is the cover letter's subject, its text "
                       "follows after an empty line")
    subject, _, body = cover.read_text(encoding="utf-8").partition("\n")
    width = len(str(total))
    mail, = out.glob("0*-cover-letter.patch")
    head = mail.read_text(encoding="utf-8").partition("\n\n")[0]
    head = re.sub(r"^Subject: .*(?:\n[ \t].*)*",
                  f"Subject: [PATCH {0:0{width}}/{total}] {subject.strip()}",
                  head, flags=re.MULTILINE)
    shortlog = git(folder, "-c", "core.quotePath=true", "shortlog",
                   "--no-color", "-w72,2,4", f"{old}..{new}")
    stat = git(folder, "diff", "--stat=72", "--summary", "--no-renames",
               "--no-color", old, new)
    mail.write_text(f"{head}\n\n{body.strip()}\n\n{shortlog}\n\n{stat}\n",
                    encoding="utf-8")


def _check_foreign(out):
    foreign = [path.name for path in out.iterdir()
               if not re.fullmatch(r"\d+-.*\.patch", path.name)] \
        if out.is_dir() else []
    if out.exists() and not out.is_dir():
        raise LabError(f"{out} is no folder")
    if foreign:
        raise LabError(f"{out} has files that are none of ours: "
                       + ", ".join(sorted(foreign)))


def write_dist(folder, out, signoff=False):
    """Write the mails into the folder out; their paths."""
    base = commit_of(folder, tree.BASE)
    ids = dist_commits(folder)
    if not ids:
        raise LabError("there are no patches yet")
    flags = ["--numbered", "--cover-letter", "--start-number=1"]
    if signoff:
        flags.append("--signoff")
    submitter = _submitter(must=signoff)
    with hold.made_whole(out) as part:
        format_patches(folder, base, ids[-1], part, *flags,
                       env=submitter)
        _cover_letter(folder, part, len(ids), base, ids[-1])
    return sorted(out.glob("*.patch"))


def _submitter(must):
    """The person who sends it, from their own git configuration."""
    done = _their_git(settings.ROOT, "var", "GIT_COMMITTER_IDENT")
    found = re.match(r"(.+) <(.+)> ", done.stdout)
    if done.returncode or not found:
        if not must:
            return {}
        raise LabError("git does not know who you are; please run: "
                       "git config --global user.name ..., and user.email")
    return {"GIT_COMMITTER_NAME": found.group(1),
            "GIT_COMMITTER_EMAIL": found.group(2)}


def dist(outdir=None, signoff=False):
    """./lab dist: the series as it goes to a mailing list."""
    out = Path(outdir).expanduser().resolve() if outdir \
        else settings.BUILD / "dist"
    _check_foreign(out)
    folder = tree.tree()
    found = export.differences()
    if found:
        raise LabError("tree and patches disagree, ./lab export first: "
                       + found[0])
    paths = write_dist(folder, out, signoff)
    say(f"{len(paths) - 1} patches and a cover letter are in {out}")
    for path in paths[1:]:
        say(f"  {subject_of(path)}")
