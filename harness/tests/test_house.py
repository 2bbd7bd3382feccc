# SPDX-License-Identifier: GPL-2.0
"""The house around the kernel, tried on a kernel of five files."""

import shutil
import subprocess
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness import (base, checks, cli, counts, export, git, kernel, packages,
                     series, settings, tree)
from harness.say import LabError

MAKEFILE = "VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 9\n"
STOCK = {"Makefile": MAKEFILE, "Kconfig": "# top\n",
         "drivers/one/Makefile": "obj-y += core.o\n",
         "drivers/one/core.c": "int one;\n\nint two;\n\nint three;\n",
         "include/linux/one.h": "extern int one;\n"}


def write(top, files):
    """Write {path: text} below a folder."""
    for path, text in files.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(text)


def shell(folder, *argv):
    """Run a command of the person in the tree; what it prints."""
    return subprocess.run(
        argv, cwd=folder, check=True, capture_output=True, text=True,
        env=git.environment({"GIT_AUTHOR_NAME": "A Writer",
                             "GIT_AUTHOR_EMAIL": "a@example.org"})).stdout


def commit(path, text, subject):
    """Change a file in the tree and commit it."""
    write(settings.TREE, {path: text})
    shell(settings.TREE, "git", "add", path)
    shell(settings.TREE, "git", "commit", "-q", "-m", subject)


@pytest.fixture(name="house")
def fixture_house(tmp_path, monkeypatch):
    """A repository of its own with a small base and two patches."""
    root = tmp_path / "repository"
    write(tmp_path / "linux", STOCK)
    tarball = tmp_path / "linux.tar.xz"
    with tarfile.open(tarball, "w:xz") as packed:
        packed.add(tmp_path / "linux", "linux")
    for name, value in (("ROOT", root), ("BUILD", root / "build"),
                        ("LOGS", root / "build/logs"),
                        ("PATCHES", root / "patches/6.12"),
                        ("TREE", root / "build/linux-6.12")):
        monkeypatch.setattr(settings, name, value)
    monkeypatch.setattr(packages, "need", lambda *sets: None)
    monkeypatch.setattr(base, "base", lambda version=None: base.Base(
        "6.12.9-1", "6.12.9", tarball))
    settings.PATCHES.mkdir(parents=True)
    write(root, {"drivers/one/extra.c": '#include "extra.h"\n',
                 "drivers/one/extra.h": "/* extra */\n",
                 "patches/6.12/cover-letter.txt": "One\n\nWhy.\n"})
    tree.tree()
    commit("drivers/one/Makefile", "obj-y += core.o\nobj-y += extra.o\n",
           "one: build extra")
    commit("drivers/one/core.c", "int one;\n\nint deux;\n\nint three;\n",
           "one: speak French")
    export.run()
    return root


def head():
    """The commit that the tree is at."""
    return git.commit_of(settings.TREE, "HEAD")


def test_tree_is_the_same_each_time(house):
    """Made again from nothing, the tree has the same commit."""
    shutil.rmtree(settings.TREE)
    tree.tree()
    first = head()
    shutil.rmtree(settings.TREE)
    tree.tree()
    assert head() == first
    assert not export.differences()
    assert (settings.TREE / "drivers/one/extra.c").is_file()
    assert house == settings.ROOT


def test_interrupted_am_is_redone(house):
    """A tree whose patches were not applied to the end is finished."""
    want = git.git(settings.TREE, "rev-parse", "HEAD^{tree}")
    git.git(settings.TREE, "reset", "-q", "--hard", "HEAD^")
    git.git(settings.TREE, "update-ref", "-d", tree.MADE)
    tree.tree()
    assert git.git(settings.TREE, "rev-parse", "HEAD^{tree}") == want
    assert house.is_dir()


def test_interrupted_unpack_is_redone(house):
    """What an interrupted unpack left is removed, and done again."""
    part = settings.TREE.with_name("linux-6.12.part")
    settings.TREE.rename(part)
    tree.tree()
    assert not part.exists() and not export.differences()
    assert house.is_dir()


def test_sync_touches_only_what_changed(house):
    """A sync keeps times, uncommitted edits and the person's commits."""
    write(house, {"drivers/one/same.h": "/* same */\n"})
    tree.tree()
    same = settings.TREE / "drivers/one/same.h"
    core = settings.TREE / "drivers/one/core.c"
    other = settings.TREE / "include/linux/one.h"
    other.write_text("extern int one; /* being edited */\n")
    watched = (core, other, same)
    before = [path.stat().st_mtime_ns for path in watched]
    author = git.git(settings.TREE, "log", "--format=%an %ad %s")
    write(house, {"drivers/one/extra.c": '#include "extra.h"\nint x;\n',
                  "drivers/one/more.h": "/* more */\n"})
    (house / "drivers/one/extra.h").unlink()
    tree.tree()
    assert [path.stat().st_mtime_ns for path in watched] == before
    assert git.git(settings.TREE, "log", "--format=%an %ad %s") == author
    assert not (settings.TREE / "drivers/one/extra.h").exists()
    assert export.uncommitted(settings.TREE) == ["include/linux/one.h"]
    assert (settings.TREE / "drivers/one/extra.c").read_text().endswith(
        "int x;\n")


def test_sync_refuses_an_edited_copy(house):
    """New files are edited in the repository, not in the tree."""
    (settings.TREE / "drivers/one/extra.h").write_text("edited\n")
    with pytest.raises(LabError, match="drivers/one/extra.h was edited"):
        tree.tree()
    write(house, {"drivers/one/extra.h": "edited\n"})
    tree.tree()
    assert not export.differences()


def test_patch_to_a_new_file_is_refused(house):
    """A commit that changes a new file is named, and so is the file."""
    commit("drivers/one/extra.h", "/* mine */\n", "one: wrong place")
    write(house, {"drivers/one/extra.h": "/* other */\n"})
    with pytest.raises(LabError, match="edits? .*drivers/one/extra.h|"
                       "extra.h was edited"):
        tree.tree()
    with pytest.raises(LabError, match="wrong place.*extra.h"):
        export.run()


def test_new_file_of_the_base_is_refused(house):
    """A change to a base file is a patch."""
    write(house, {"drivers/one/core.c": "int mine;\n"})
    with pytest.raises(LabError, match="core.c is a file of the base"):
        tree.tree()


def test_changed_patches_are_followed(house):
    """Patches that a pull brought are applied when nothing is lost."""
    last = sorted(house.glob("patches/6.12/0*"))[-1]
    text = last.read_text()
    last.write_text(text.replace("+int deux;", "+int dos;"))
    tree.tree()
    assert "dos" in (settings.TREE / "drivers/one/core.c").read_text()


def test_own_commits_are_not_lost(house):
    """Patches changed and the tree has commits of its own: an error."""
    commit("include/linux/one.h", "extern int two;\n", "one: own work")
    last = sorted(house.glob("patches/6.12/0*"))[-1]
    last.write_text(last.read_text().replace("+int deux;", "+int dos;"))
    mine = head()
    with pytest.raises(LabError, match="commits that no patch has"):
        tree.tree()
    assert head() == mine


def test_damaged_patch_is_named(house):
    """A patch that does not apply is named; mended, it applies."""
    last = sorted(house.glob("patches/6.12/0*"))[-1]
    text = last.read_text()
    last.write_text(text.replace("-int two;", "-int zwei;"))
    with pytest.raises(LabError, match=last.name):
        tree.tree()
    last.write_text(text)
    tree.tree()
    assert not export.differences()


def test_export_check_sees_every_difference(house):
    """A changed, a missing and a surplus patch are each a line."""
    first, last = sorted(house.glob("patches/6.12/0*"))
    assert not export.differences()
    first.write_text(first.read_text() + "more\n")
    last.rename(last.with_name("0003-other.patch"))
    lines = "\n".join(export.differences())
    assert first.name in lines and last.name in lines
    assert "0003-other.patch" in lines
    with pytest.raises(LabError, match="3 differences"):
        export.check()


def test_export_is_the_same_for_everybody(house, monkeypatch):
    """The person's git configuration does not show in the patches."""
    before = tree.digest(tree.patches())
    config = house / "gitconfig"
    config.write_text(
        "[diff]\n noprefix = true\n renames = copies\n context = 9\n"
        " algorithm = patience\n mnemonicPrefix = true\n"
        "[format]\n signature = me\n numbered = true\n attach = true\n"
        " subjectPrefix = MINE\n signOff = true\n thread = true\n"
        " from = true\n coverLetter = true\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    git.git(settings.TREE, "config", "include.path", config)
    export.run()
    assert tree.digest(tree.patches()) == before
    assert not export.differences()


def test_export_refuses_uncommitted(house):
    """Changes that are not committed would be missing: refused."""
    write(settings.TREE, {"include/linux/one.h": "changed\n"})
    with pytest.raises(LabError, match="include/linux/one.h"):
        export.run()
    assert house.is_dir()


def test_export_removes_old_names_only(house):
    """A patch that is gone goes; the cover letter stays."""
    git.git(settings.TREE, "reset", "-q", "--hard", "HEAD^")
    export.run()
    assert [path.name for path in tree.patches()] == [
        "0001-one-build-extra.patch"]
    assert (house / "patches/6.12/cover-letter.txt").is_file()


def test_dist_puts_new_files_where_they_are_built(house):
    """The first patch builds extra.c, which includes two headers."""
    write(house, {"drivers/one/extra.c": '#include "extra.h"\n'
                                         "#include <linux/far.h>\n",
                  "include/linux/far.h": "/* far */\n"})
    tree.tree()
    ids = series.dist_commits(settings.TREE)
    assert sorted(git.changes(settings.TREE, f"{ids[0]}^", ids[0])) == [
        "drivers/one/Makefile", "drivers/one/extra.c",
        "drivers/one/extra.h", "include/linux/far.h"]
    write(house, {"drivers/one/orphan/none.c": "\n"})
    tree.tree()
    with pytest.raises(LabError, match="drivers/one/orphan/none.c"):
        series.dist_commits(settings.TREE)


def test_dist_mails(house):
    """A cover letter, numbers, a sign-off only when asked for."""
    out = house / "build/dist"
    series.dist()
    mails = sorted(out.glob("*.patch"))
    assert [mail.name[:5] for mail in mails] == ["0000-", "0001-", "0002-"]
    cover = mails[0].read_text()
    assert "Subject: [PATCH 0/2] One\n" in cover and "\nWhy.\n" in cover
    assert "A Writer (2):" in cover and "extra.c" in cover
    assert "[PATCH 1/2] one: build extra" in mails[1].read_text()
    assert "Signed-off-by" not in "".join(map(Path.read_text, mails))
    (out / "notes.txt").write_text("mine\n")
    with pytest.raises(LabError, match="notes.txt"):
        series.dist()


def stock_at(folder):
    """The small stock kernel in a folder, without git."""
    write(folder, STOCK)
    return folder


def contents(folder):
    """{path: text} of a folder, without git's own."""
    return {str(path.relative_to(folder)): path.read_text()
            for path in folder.rglob("*")
            if path.is_file() and ".git" not in path.parts}


def test_apply_without_git(house, tmp_path):
    """A plain folder gets what the tree has; again, it is said."""
    folder = stock_at(tmp_path / "plain")
    series.apply(folder)
    want = contents(settings.TREE)
    assert contents(folder) == want
    series.apply(folder)
    assert contents(folder) == want and house.is_dir()


@pytest.mark.parametrize("with_git", [False, True])
def test_apply_is_all_or_nothing(house, tmp_path, with_git):
    """The second patch does not apply: named, and DIR is untouched."""
    folder = stock_at(tmp_path / "theirs")
    (folder / "drivers/one/core.c").write_text("int other;\n")
    if with_git:
        shell(folder, "git", "init", "-q")
        shell(folder, "git", "add", "-A")
        shell(folder, "git", "commit", "-q", "-m", "theirs")
    before = contents(folder)
    with pytest.raises(LabError, match="0002-one-speak-French.patch"):
        series.apply(folder)
    assert contents(folder) == before and house.is_dir()


def test_apply_says_what_is_no_6_12(house, tmp_path):
    """No kernel, another kernel, a tree with changes: one line each."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(LabError, match="no Linux kernel tree"):
        series.apply(tmp_path / "empty")
    folder = stock_at(tmp_path / "new")
    write(folder, {"Makefile": MAKEFILE.replace("= 12", "= 13")})
    with pytest.raises(LabError, match="is Linux 6.13.9"):
        series.apply(folder)
    write(folder, {"Makefile": MAKEFILE})
    shell(folder, "git", "init", "-q")
    with pytest.raises(LabError, match="not committed"):
        series.apply(folder)
    assert house.is_dir()


def test_missed_symbols_are_named(tmp_path):
    """Every symbol that is not set as asked is one line."""
    fragment, dotconfig = tmp_path / "f.config", tmp_path / ".config"
    fragment.write_text("CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=20\n"
                        "CONFIG_D=y\n")
    dotconfig.write_text("CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=20\n")
    assert kernel.missed(kernel.requested([fragment]), dotconfig) == [
        "CONFIG_B is y, n was asked for", "CONFIG_D is n, y was asked for"]


def test_closing_line():
    """Skipped ones are only said when there are any."""
    total = counts.Counts("all")
    total.add(counts.Counts("one", 3, 1))
    assert total.closing() == "3 passed, 1 failed"
    total.add(counts.Counts("two", skipped=2))
    assert total.closing() == "3 passed, 1 failed, 2 skipped"


def test_missing_packages_are_named(monkeypatch):
    """Without rights there is one line that says what to run."""
    monkeypatch.setattr(packages, "SETS", {"x": ("bash", "no-such-one")})
    monkeypatch.setattr(packages, "_rights", lambda: None)
    with pytest.raises(LabError,
                       match="sudo apt-get install no-such-one"):
        packages.need("x")


@pytest.mark.parametrize("words, said", [
    (["foo"], "no command foo"), (["apply", "/nonexistent"], "no folder"),
    (["demo", "--machine", "zz"], "no machine is called zz; there are: vtd"),
    (["test", "--machine", "zz"], "no machine is called zz; there are: vtd"),
    (["shell", "--machine", "zz"], "no machine is called zz; there are: vtd"),
    (["shell", "--machine"], "--machine needs a name; there are: vtd")])
def test_wrong_words_are_named(words, said, capsys):
    assert cli.main(words) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name, kept", [("GR0_sCR0", False),
                                        ("fooBar", True)])
def test_names_of_the_base_can_be_used(monkeypatch, name, kept):
    line = f"x.patch:1: CHECK:CAMELCASE: Avoid CamelCase: <{name}>"
    monkeypatch.setattr(checks, "printed", lambda *args: [line, "other"])
    monkeypatch.setattr(checks, "run_git", lambda folder, *args: (
        SimpleNamespace(returncode=int("GR0_sCR0" not in args))))
    assert checks.checkpatch(None) == [line] * kept + ["other"]


def test_records_are_asked_for_but_of_what_is_named():
    states = {"builds: one": "a", "stock reference": None,
              f"{checks.NOT_SEEN_YET[0]}, arm": None}
    assert checks.asked_for(states) == {"builds: one": "a",
                                        "stock reference": None}


@pytest.mark.parametrize("known, wanted", [
    (["a.c: error: old"], ["a.c: warning: new", "b.h: error: new"]),
    ([], ["a.c: error: new", "a.c: warning: new", "b.h: error: new"])])
def test_errors_count_where_stock_compiles(monkeypatch, known, wanted):
    """Warnings count everywhere, and what other files say does too."""
    monkeypatch.setattr(checks, "reference", lambda: ({"a.o"}, {*known}))
    shared = checks.Warnings(None)
    shared.found = {"a.o": ["a.c: error: new", "a.c: warning: new",
                            "b.h: error: new"]}
    assert shared.beyond_stock("a.o", ["a.o"]) == wanted
