# SPDX-License-Identifier: GPL-2.0
"""Checks of the documents that the series adds or touches."""

import os
import re
import subprocess
import tempfile
from pathlib import Path

from . import packages
from . import tree as trees
from .git import changes, run as run_git
from .say import LabError, Progress

ABI = "Documentation/ABI/"
DOCUMENT = re.compile(r"Documentation/(?!translations/).*\.rst")
# What a document takes in, by the directives that read a file.
TAKES_IN = r"^\.\. (include|literalinclude|kernel-doc):: *(\S+)"
LINE = re.compile(r":\d+(?=:|\s|$)")
NO_DOCUMENT = re.compile(r"(?:nonexisting|unknown) document:? '/?([^']+)'")


def _text(folder, commit, path):
    """A file of a commit, or None."""
    done = run_git(folder, "cat-file", "blob", f"{commit}:{path}")
    return None if done.returncode else done.stdout


def taken_in(path, text):
    """The files that a document's directives read, as paths in the tree."""
    found = set()
    for kind, name in re.findall(TAKES_IN, text, re.MULTILINE):
        folder = "" if kind == "kernel-doc" else Path(path).parent
        found.add(os.path.normpath(Path(folder, name)))
    return found


def touched_documents(folder):
    """(documents, files of the ABI) that the series changes or feeds."""
    touched = changes(folder, trees.BASE, "HEAD")
    documents = {path for path in touched if DOCUMENT.fullmatch(path)}
    others = set(touched) - documents
    lines = run_git(folder, "grep", "-E", TAKES_IN.replace(r"\S", "[^ ]"),
                    "HEAD", "--", "Documentation/*.rst").stdout
    for line in lines.decode(errors="replace").splitlines():
        path, _, text = line.removeprefix("HEAD:").partition(":")
        if DOCUMENT.fullmatch(path) and taken_in(path, text) & others:
            documents.add(path)
    return (sorted(documents),
            sorted(path for path in others if path.startswith(ABI)))


def _write_source(folder, commit, at, documents, abi):
    """A small tree with the documents of a commit and what they read."""
    wanted = {*documents, *abi}
    for path in documents:
        text = _text(folder, commit, path) or b""
        wanted |= taken_in(path, text.decode(errors="replace"))
    for path in sorted(wanted):
        text = _text(folder, commit, path)
        if text is not None:
            (at / path).parent.mkdir(parents=True, exist_ok=True)
            (at / path).write_bytes(text)
    (at / "scripts").symlink_to(folder / "scripts")
    # What is new has to be linked by what is there.
    there = [path[len("Documentation/"):-len(".rst")] for path in documents
             if _text(folder, trees.BASE, path) is not None]
    (at / "Documentation").mkdir(exist_ok=True)
    (at / "Documentation/index.rst").write_text(
        "Documents\n=========\n\n.. toctree::\n\n"
        + "".join(f"   {name}\n" for name in there), encoding="utf-8")
    if abi:
        with open(at / "Documentation/index.rst", "a",
                  encoding="utf-8") as file:
            file.write("\n.. kernel-abi:: ABI\n   :rst:\n")


def _sphinx(folder, at):
    """What Sphinx says, without places and line numbers."""
    done = subprocess.run(
        ["sphinx-build", "-q", "-b", "html", "--no-color",
         "-c", folder / "Documentation", "-d", at / "doctrees",
         "-D", f"kerneldoc_srctree={at}",
         "-D", f"kerneldoc_bin={folder / 'scripts/kernel-doc'}",
         at / "Documentation", at / "out"], cwd=at, check=False,
        capture_output=True, text=True, errors="replace",
        env={**os.environ, "srctree": str(at), "LC_ALL": "C.UTF-8",
             "PYTHONDONTWRITEBYTECODE": "1"})
    said = (done.stdout + done.stderr).splitlines()
    if done.returncode:
        raise LabError("\n".join(["sphinx-build failed:", *said[-10:]]))
    return [LINE.sub("", line.replace(f"{at}/", "")) for line in said
            if re.search("WARNING|ERROR|[Ww]arning:|[Ee]rror:", line)]


def _is_there(folder, warning):
    """Whether it only says that a document is not in the small tree."""
    found = NO_DOCUMENT.search(warning)
    return bool(found) and _text(
        folder, "HEAD", f"Documentation/{found.group(1)}.rst") is not None


def htmldocs(folder):
    """What htmldocs says about the touched documents and not about stock's."""
    packages.need("documents")
    documents, abi = touched_documents(folder)
    said = []
    for commit, whose in ((trees.BASE, "stock's"), ("HEAD", "ours")):
        with tempfile.TemporaryDirectory() as name, \
                Progress(f"htmldocs, {whose}"):
            at = Path(name).resolve()
            _write_source(folder, commit, at, documents, abi)
            said.append(_sphinx(folder, at))
    stock, ours = said
    return sorted({line for line in ours
                   if line not in stock and not _is_there(folder, line)})


def abi(folder):
    """What the ABI checker says; stock gives it no reason to say a word."""
    done = subprocess.run(
        ["perl", "scripts/get_abi.pl", "validate", "--dir",
         "Documentation/ABI"], cwd=folder, check=False, capture_output=True,
        text=True, errors="replace")
    lines = (done.stdout + done.stderr).splitlines()
    if done.returncode and not lines:
        return [f"get_abi.pl ended with status {done.returncode}"]
    return lines
