# SPDX-License-Identifier: GPL-2.0
"""Which objects a configuration builds, and what is new in them."""

import json
import subprocess

import pytest

from harness import crossbuilds, kernel
from harness.crossbuilds import Configuration
from harness.say import LabError
from harness.warned import normalised

KBUILD = {
    "Kbuild": "obj-y += drivers/\n",
    "drivers/Makefile": "obj-y += one/\nobj-$(CONFIG_TWO) += two/\n"
                        "obj-$(CONFIG_THREE) += three/\n",
    "drivers/one/Makefile": "obj-$(CONFIG_ONE) += kept.o\n"
                            "obj-$(CONFIG_OFF) += off.o\n",
    "drivers/two/Kbuild": "obj-$(CONFIG_TWO) += two.o\n"
                          "two-y := main.o\ntwo-y += deep/er.o\n"
                          "two-$(CONFIG_OFF) += part.o\n",
    "drivers/three/Makefile": "obj-y += three.o\n",
}
CONF = "CONFIG_ONE=y\nCONFIG_TWO=m\n"
WANTED = ["drivers/one/kept.o", "drivers/one/off.o", "drivers/two/main.o",
          "drivers/two/deep/er.o", "drivers/two/part.o",
          "drivers/three/three.o"]


@pytest.fixture(name="small")
def fixture_small(tmp_path):
    """A tree of three folders with empty scripts, and its build folder."""
    files = {**KBUILD, "scripts/Kbuild.include": "",
             "scripts/Makefile.compiler": "", "scripts/Makefile.lib": LIB,
             "out/include/config/auto.conf": CONF}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


# What the kernel's own does, for the few things that are used here.
LIB = """
parts = $(foreach o,$(1),$(or $($(o:.o=-y)),$(o)))
prefix = $(if $(filter .,$(obj)),,$(obj)/)
subdir-ym := $(addprefix $(prefix),$(patsubst %/,%,$(filter %/,\
$(obj-y) $(obj-m))))
real-obj-y := $(addprefix $(prefix),$(call parts,$(filter %.o,$(obj-y))))
real-obj-m := $(addprefix $(prefix),$(call parts,$(filter %.o,$(obj-m))))
"""


def test_only_what_is_configured(small):
    kinds = crossbuilds.configured(crossbuilds.list_command("x86_64"),
                                   small / "out", WANTED)
    assert kinds == {"drivers/one/kept.o": "y", "drivers/two/main.o": "m",
                     "drivers/two/deep/er.o": "m"}


def test_only_folders_that_lead_somewhere():
    seen = []

    def listing(folder):
        seen.append(folder)
        return crossbuilds.parse_list({
            ".": ["d a", "d ab", "d b"], "ab": ["d ab/c", "y ab/x.o"],
            "ab/c": ["m ab/c/y.o", "m ab/c/y.o"]}[folder])

    assert crossbuilds.built_by(listing, ["ab/c/y.o"]) == {"ab/c/y.o": "m"}
    assert seen == [".", "ab", "ab/c"]


def test_line_numbers_make_no_warning_new():
    old = normalised(["../a/b.c:10:5: warning: odd", "  CC a/b.o",
                      "a/b.c:11: note: there"], "/tree")
    new = normalised(["/tree/a/b.c:99:7: warning: odd",
                      "../a/b.c:12:1: error: worse"], "/tree")
    assert old == ["a/b.c: warning: odd"]
    assert crossbuilds.judge({"failed": [], "warnings": new},
                             {"failed": [], "warnings": old}) \
        == ["a/b.c: error: worse"]


def test_what_does_not_compile_is_said():
    ours = {"failed": ["a/b.o", "a/c.o"], "warnings": []}
    stock = {"failed": ["a/c.o"], "warnings": []}
    assert crossbuilds.judge(ours, stock) == ["a/b.o: does not compile"]


def test_a_module_needs_an_export():
    symbols = {"core.o": ["0000000000000010 T good", "00000020 T bad",
                          "0000 r __export_symbol_good", "U good"],
               "user.o": ["                 U good", "                 U bad",
                          "                 U printk"]}
    kinds = {"core.o": "y", "user.o": "m"}
    wrong, = crossbuilds.unexported(symbols, kinds)
    assert "user.o" in wrong and "bad" in wrong and "core.o" in wrong
    assert not crossbuilds.unexported(symbols, {**kinds, "user.o": "y"})


def test_names_and_folders_are_distinct():
    every = crossbuilds.CONFIGURATIONS
    assert len({each.out for each in every}) == len(every)
    assert {each.arch for each in every} == set(kernel.CROSS)


def test_what_a_configuration_lacks_is_named(tmp_path, monkeypatch):
    """An option that something selects cannot be off unnoticed."""
    def run_logged(*_args, **_options):
        (tmp_path / "out-x/.config").write_text(
            "CONFIG_DEBUG_INFO_NONE=y\nCONFIG_PCI=y\n")

    monkeypatch.setattr(crossbuilds, "run_logged", run_logged)
    wanted = Configuration("x", wanted=("# CONFIG_PCI is not set",))
    with pytest.raises(LabError, match="CONFIG_PCI is y, n was asked for"):
        crossbuilds.configure(tmp_path, wanted, ["make"], tmp_path / "log")


def test_list_command_names_no_make_of_ours(small):
    """The list is only names: nothing of make gets into it."""
    done = subprocess.run(
        [str(word) for word in (
            *crossbuilds.list_command("x86_64"), "-s", "-f",
            crossbuilds.LIST, "obj=drivers", "lab-list")],
        cwd=small / "out", check=True, capture_output=True, text=True)
    assert done.stdout == "d drivers/one\nd drivers/two\n"


def test_objects_are_added_to_what_is_known_of_a_commit(tmp_path):
    """Objects of another state of the kernel are not."""
    kept = tmp_path / "kept.json"
    first = {"asked": ["a.o", "b.o"], "built": ["a.o"], "failed": ["b.o"],
             "warnings": ["b.c: error: gone"]}
    second = {"asked": ["c.o"], "built": ["c.o"], "failed": [],
              "warnings": ["c.c: warning: old"]}
    kept.write_text(json.dumps({"state": "stock", **first}))
    known = crossbuilds.merged(crossbuilds.kept(kept, "stock"), second)
    assert known == {"state": "stock", "asked": ["a.o", "b.o", "c.o"],
                     "built": ["a.o", "c.o"], "failed": ["b.o"],
                     "warnings": ["b.c: error: gone", "c.c: warning: old"]}
    assert not crossbuilds.kept(kept, "another")["asked"]
