# SPDX-License-Identifier: GPL-2.0
"""Figures of the benchmark are read, compared and kept as they are."""

from pathlib import Path

import pytest

from harness import bench, benchchart, benchparts, benchresults
from harness import kernel as kernels
from harness import machinespec, settings
from harness.git import git
from harness.say import LabError

LOG = """\
[    0.512345] calling  pci_iommu_init+0x0/0x70 @ 1
[    0.591000] initcall pci_iommu_init+0x0/0x70 returned 0 after 78655 usecs
[    0.600000] probe of 0000:00:04.0 returned 0 after 12 usecs
[    0.700000] initcall lab_bench_init+0x0/0xf [lab_bench] returned 0 after \
7 usecs
"""

MEMORY = """\
MemTotal:         1000 kB
MemFree:           600 kB
Percpu:             12 kB
nr_iommu_pages 3
  pagesets
    cpu: 0
              count:    10
              high:     100
slabinfo - version: 2.1
# name <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : \
tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> \
<num_slabs> <sharedavail>
iommu_iova 7 64 40 64 1 : tunables 0 0 0 : slabdata 1 1 0
kmalloc-64 100 128 64 64 1 : tunables 0 0 0 : slabdata 2 2 0
"""


# What a guest says

def test_lines_of_the_guest_are_instructions():
    assert benchparts.measured("a 400 1\nDMA-to-identity 1000 10\n") \
        == {"a": 200, "DMA-to-identity": 50}


def test_initcalls_are_instructions():
    assert benchparts.initcalls(LOG) == {"pci_iommu_init": 78655 * 500,
                                         "lab_bench_init": 3500}


def test_memory_counts_what_is_not_free():
    state = benchparts.memory_state(MEMORY)
    assert state == {"all": 400 * 1024 - 10 * 4096,
                     "slab objects": 7 * 40 + 100 * 64,
                     "per-CPU pages": 12 * 1024, "IOMMU pages": 3 * 4096}


def test_ordinals():
    assert [benchparts.ordinal(each) for each in (1, 2, 3, 4, 11, 32, 112)] \
        == ["1st", "2nd", "3rd", "4th", "11th", "32nd", "112th"]


# What is measured where

def test_word_selects_parts_of_machines():
    def names(word):
        return [f"{machine}/{part.name}"
                for part, machine in benchparts.selected(word)]

    assert names("vtd/changes") == ["vtd/changes", "vtd/changes-4-cpus"]
    assert names("hot-add") == [f"{machine}/hot-add"
                                for machine in benchparts.MACHINES]
    assert set(names(None)) > set(names("vtd")) > {"vtd/map"}
    assert "amd/map" not in names(None)
    with pytest.raises(LabError, match="vtd/memory"):
        names("no such part")


@pytest.mark.parametrize("machine", benchparts.MACHINES, ids="of-{}".format)
def test_functions_have_places_of_their_own(machine):
    for number in benchparts.FUNCTIONS:
        devices = benchparts.functions(
            number - benchparts.BUILT_IN[machine])
        assert len({each.address for each in devices}) == len(devices)
    addresses = [each.address for each in devices]
    assert addresses[:9:8] == ["00:04.0", "00:05.0"]
    with pytest.raises(LabError, match="no room"):
        benchparts.functions(300)


def test_groups_of_their_own():
    devices = benchparts.single(benchparts.MEMORY_GROUPS)
    assert len({each.address.split(".")[0] for each in devices}) \
        == benchparts.MEMORY_GROUPS


@pytest.mark.parametrize("machine", benchparts.MACHINES, ids="of-{}".format)
def test_every_machine_can_be_without_its_iommu(machine):
    spec = machinespec.spec(machine)
    assert machine in benchparts.OFF_WORDS \
        or benchparts.without_iommu(spec).options != spec.options


def test_configuration_is_there_on_both_architectures():
    for arch in ("x86_64", "arm64"):
        names = [path.stem for path in kernels.fragments("bench", arch)]
        assert names == ["base", arch, "bench"]


def test_kernel_is_lean():
    wanted = kernels.requested(kernels.fragments("bench", "x86_64"))
    assert not {"CONFIG_PROVE_LOCKING", "CONFIG_DEBUG_LIST", "CONFIG_KASAN",
                "CONFIG_KFENCE", "CONFIG_FUNCTION_TRACER"} & set(wanted)
    assert wanted["CONFIG_SLUB_TINY"] == "n"


# Figures

def figure(stock, patched=None, unit="instructions"):
    repeats = {"stock": stock, **({"patched": patched} if patched else {})}
    return benchresults.figure(unit, repeats)


def test_figure_is_the_median_and_keeps_the_repeats():
    one = figure([100, 102, 101], [50, 50, 50])
    assert (one["stock"], one["patched"]) == (101, 50)
    assert one["ratio"] == pytest.approx(50 / 101, abs=1e-4)
    assert one["repeats"]["stock"] == [100, 102, 101]
    assert one["spread"] == {"stock": pytest.approx(2 / 101, abs=1e-5),
                             "patched": 0}


def test_repeats_that_differ_are_marked():
    assert benchresults.marked(figure([1000, 1011, 1000]))
    assert not benchresults.marked(figure([1000, 1009, 1000]))
    assert benchresults.marked(figure([1000, 1000, 1000], [1, 2, 3]))
    assert benchresults.marked(figure([0, 0, 5]))
    assert not benchresults.marked(figure([0, 0, 0]))


def test_no_ratio_to_nothing():
    assert "ratio" not in figure([0, 0, 0], [5, 5, 5])
    assert "ratio" not in figure([5, 5, 5])


def results(series, figures, **more):
    return {**dict.fromkeys(benchresults.IDENTITY, "same"),
            "series": series, **more, "figures": figures}


def test_part_of_a_run_keeps_the_other_figures():
    old = results("one", {"vtd/a/x": figure([1]), "vtd/b/x": figure([2])})
    new = results("one", {"vtd/b/x": figure([3])})
    both = benchresults.merged(old, new)["figures"]
    assert both["vtd/a/x"] == figure([1])
    assert both["vtd/b/x"] == figure([3])
    assert benchresults.merged({}, new) == new


@pytest.mark.parametrize("key", benchresults.IDENTITY)
def test_figures_of_something_else_are_not_kept(key):
    old = results("one", {"vtd/a/x": figure([1])})
    new = {**results("one", {"vtd/b/x": figure([3])}), key: "another"}
    assert benchresults.merged(old, new) == new


def test_another_peer_replaces_the_old_one():
    one = benchresults.figure("bytes", {"stock": [2], "peer": [1]})
    old = results("one", {"vtd/a/x": one, "vtd/b/x": one}, peer="first")
    new = results("one", {"vtd/b/x": one}, peer="second")
    both = benchresults.merged(old, new)
    assert both["peer"] == "second"
    assert both["figures"]["vtd/a/x"] == figure([2], unit="bytes")
    assert both["figures"]["vtd/b/x"] == one
    # A run without a peer says nothing of the peer.
    later = benchresults.merged(old, results("one", {"vtd/b/x": figure([2])}))
    assert later["peer"] == "first"
    assert later["figures"]["vtd/a/x"] == one


def test_results_are_read_as_written(tmp_path, monkeypatch):
    monkeypatch.setattr(benchresults, "RESULTS", tmp_path / "bench.json")
    assert benchresults.known() == {}
    one = results("one", {"vtd/a/x": figure([1, 2, 3], [4, 5, 6])})
    benchresults.keep(one)
    assert benchresults.known() == one


def test_order_is_that_of_the_parts():
    figures = dict.fromkeys(("amd/probe/x", "vtd/changes/b", "vtd/changes/a",
                             "vtd/probe/x"))
    assert list(bench.in_order(figures)) == [
        "vtd/probe/x", "vtd/changes/b", "vtd/changes/a", "amd/probe/x"]


def test_table_shows_and_marks():
    lines = benchresults.table({
        "vtd/changes/DMA to identity": figure([2000, 2000, 2000],
                                              [500, 500, 500]),
        "vtd/changes/identity to DMA": figure([10, 10, 11])})
    assert lines[1].split() == ["vtd/changes,", "instructions", "stock",
                                "patched", "ratio", "spread", "spread"]
    assert "2,000" in lines[2] and "0.250" in lines[2]
    assert lines[3].endswith("repeats differ")


# Targets

def verdict(figures, what):
    return [(name, value, good, sure) for each, name, value, _, good, sure
            in benchresults.judged(figures) if each == what]


def test_target_is_a_limit_for_the_ratio():
    name = "vtd/changes/DMA to identity"
    what = "a change to identity"
    assert verdict({name: figure([100], [25])}, what) \
        == [(name, 0.25, True, True)]
    assert verdict({name: figure([100], [26])}, what) \
        == [(name, 0.26, False, True)]
    assert verdict({name: figure([100, 110], [26, 26])}, what)[0][3] is False
    assert verdict({}, what) == [("", None, None, True)]


def test_target_is_not_reached_by_rounding():
    name = "vtd/changes/DMA to identity"
    one = figure([100_000], [25_004])
    assert one["ratio"] == 0.25
    assert verdict({name: one}, "a change to identity")[0][2] is False
    assert verdict({"vtd/map/x": figure([100_000], [101_004])},
                   "nothing else slower or larger")[0][2] is False


def test_target_within_the_spread_is_not_sure():
    what = "a change to identity"
    for patched, sure in ((24.9, False), (24, True), (25.1, False)):
        name = "vtd/changes/DMA to identity"
        one = figure([99.5, 100, 100.4], [patched] * 3)
        assert verdict({name: one}, what)[0][3] is sure


def test_part_with_a_failed_boot_is_not_kept():
    found = {"vtd/map/x": {"stock": [1], "patched": [1], "peer": [3]}}
    assert list(bench.whole("bytes", found, {})) == ["vtd/map/x"]
    assert not bench.whole("bytes", found, {"stock": ["it did not boot"]})
    assert not bench.whole("bytes", found, {"patched": ["no"], "peer": ["no"]})
    # The two are compared without a peer, too.
    found["vtd/map/y"] = {"peer": [3]}
    kept = bench.whole("bytes", found, {"peer": ["it did not boot"]})
    assert kept == {"vtd/map/x": figure([1], [1], "bytes")}


def test_one_surprise_is_one_failed_boot():
    def ask(subject):
        if subject.who == "patched":
            raise KeyError("pci_iommu_init")
        return {"x": 5}

    part = benchparts.Part("map", ask)
    todo = [benchparts.Subject(who, None, machinespec.spec("vtd"), None,
                               Path("logs")) for who in ("stock", "patched")]
    ended = []
    found, failed = bench.measure(part, todo, lambda: ended.append(1))
    assert found == {"vtd/map/x": {"stock": [5]}}
    assert failed == {"patched": ["KeyError: 'pci_iommu_init'"]}
    assert len(ended) == 2


def test_each_part_is_kept_when_it_is_measured(tmp_path, monkeypatch):
    """What ends the run later takes nothing from it."""
    monkeypatch.setattr(benchresults, "RESULTS", tmp_path / "bench.json")
    one = {key: "same" for key in benchresults.IDENTITY}
    bench.keep(one, {"vtd/map/x": figure([1], [2])})
    bench.keep(one, {"vtd/probe/x": figure([1], [2])})
    assert list(benchresults.known()["figures"]) == ["vtd/probe/x",
                                                     "vtd/map/x"]


def test_what_is_dropped_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchresults, "RESULTS", tmp_path / "bench.json")
    one = {key: "same" for key in benchresults.IDENTITY}
    bench.keep(one, {"vtd/map/x": figure([1], [2])})
    bench.keep(one, {"vtd/probe/x": figure([1], [2])})
    assert "dropped" not in capsys.readouterr().out
    bench.keep({**one, "series": "another"}, {"vtd/probe/x": figure([1])})
    assert "something else: vtd/map\n" in capsys.readouterr().out


def test_comment_of_a_machine_changes_no_identity(tmp_path, monkeypatch):
    before = bench.program_digest()
    data = tmp_path / "machines.toml"
    monkeypatch.setattr(machinespec, "DATA", data)

    def changed(old, new):
        text = original.replace(old, new)
        assert text != original
        data.write_text(text)
        machinespec._data.cache_clear()
        return bench.program_digest() != before

    original = (settings.HARNESS / "machines.toml").read_text()
    try:
        assert not changed("[machine.amd]", "# A comment\n[machine.amd]")
        assert changed("q35,kernel-irqchip=split", "q35,kernel-irqchip=off")
    finally:
        monkeypatch.undo()
        machinespec._data.cache_clear()


@pytest.fixture(name="builds")
def fixture_builds(monkeypatch):
    """A way to build kernels, of which those of some people do not compile."""
    asked = []

    def build(config, arch, tree, strict=True):
        asked.append((config, arch, tree, strict))
        if "broken" in tree:
            raise LabError("it does not compile")
        return tree

    monkeypatch.setattr(bench.kernels, "build", build)
    monkeypatch.setattr(bench.initramfs, "initramfs",
                        lambda kernel, contents: f"initrd of {kernel}")
    return asked


def test_only_a_peer_may_lack_a_symbol(builds):
    found = bench.built("arm64", {"stock": "a", "patched": "b", "peer": "c"})
    assert found["peer"] == ("c", "initrd of c")
    assert builds == [("bench", "arm64", "a", True),
                      ("bench", "arm64", "b", True),
                      ("bench", "arm64", "c", False)]


def test_peer_that_does_not_compile_is_left_out(builds, capsys):
    assert builds == []
    found = bench.built("arm64", {"stock": "a", "peer": "broken"})
    assert list(found) == ["stock"]
    assert "does not compile" in capsys.readouterr().out
    with pytest.raises(LabError, match="does not compile"):
        bench.built("arm64", {"stock": "broken"})
    with pytest.raises(LabError, match="third kernel cannot be built"):
        bench.peer_identity({"arm64": found, "x86_64": None})


def test_kernels_that_are_measured_are_copies(tmp_path):
    for name in ("bzImage", "initrd"):
        (tmp_path / name).write_text(name)
    kernel = kernels.Kernel(tmp_path / "bzImage", "bench", "x86_64", "6.12",
                            tmp_path, tmp_path)
    found = bench.kept({"x86_64": {"stock": (kernel, tmp_path / "initrd")},
                        "arm64": None}, tmp_path / "copies")
    (tmp_path / "bzImage").write_text("another")
    assert list(found) == ["x86_64"]
    copy, initrd = found["x86_64"]["stock"]
    assert copy.image.read_text() == "bzImage"
    assert initrd.read_text() == "initrd"
    assert copy.build == kernel.build


def test_peer_is_a_checkout(tmp_path, monkeypatch):
    with pytest.raises(LabError, match="no git checkout"):
        bench.peer_tree(tmp_path)
    made = []
    monkeypatch.setattr(bench.clones, "work_tree_at",
                        lambda *words: made.append(words))
    for name in ("one/linux", "two/linux"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        git(folder, "init", "-q")
        git(folder, "commit", "-q", "--allow-empty", "-m", "a kernel")
        bench.peer_tree(folder)
        assert made[-1][1:] == (folder, git(folder, "rev-parse", "HEAD"))
    # Two of one name are not built in one place.
    assert made[0][0] != made[1][0]


class Told:
    """A machine that answers every command in one way."""

    log = "its log"

    def __init__(self, answer):
        self.answer = answer

    def run(self, _):
        """What a command says."""
        return self.answer


def test_machine_is_what_is_measured():
    device, = benchparts.single()
    benchparts.expect_no_groups(Told(""))
    with pytest.raises(LabError, match="there are groups"):
        benchparts.expect_no_groups(Told("0 1\n"))
    benchparts.expect_type(Told("identity\n"), device, "identity")
    with pytest.raises(LabError, match="type is DMA, not identity"):
        benchparts.expect_type(Told("DMA\n"), device, "identity")
    assert benchparts.cycle(Told("DMA-to-identity 400 10\n"), device, 10,
                            "identity", "DMA") == {"DMA to identity": 20}


@pytest.fixture(name="other_arch")
def fixture_other_arch(monkeypatch):
    """Two architectures, and what came of asking for the second one's."""
    chosen = [("probe", "vtd"), ("probe", "smmuv3")]
    told = {}

    def need(*sets):
        if told["packages"] and "machine-arm64" in sets:
            raise LabError("no compiler")

    def build(arch, sources):
        if told["kernel"] and arch == "arm64":
            raise LabError("it does not compile")
        return {"stock": arch}

    monkeypatch.setattr(bench.packages, "need", need)
    monkeypatch.setattr(bench, "built", build)

    def run(**wrong):
        told.update({"packages": False, "kernel": False, **wrong})
        return bench.buildable(chosen, {})[1]
    return run


def test_architecture_without_a_compiler_is_left_out(other_arch):
    assert len(other_arch()) == 2
    assert other_arch(packages=True) == [("probe", "vtd")]


def test_kernel_that_does_not_compile_is_an_error(other_arch):
    with pytest.raises(LabError, match="not compile"):
        other_arch(kernel=True)


def test_target_against_another_figure():
    figures = {"amd/hot-add/64th": figure([9], [12]),
               "amd/hot-add/2nd": figure([9], [10])}
    what = "hot-add of the 64th against the 2nd"
    assert verdict(figures, what) == [("amd/hot-add/64th", 1.2, True, True)]
    del figures["amd/hot-add/2nd"]
    assert verdict(figures, what)[0][2] is None


def test_nothing_else_is_slower():
    what = "nothing else slower or larger"
    bad, good = figure([100], [102]), figure([100], [101])
    assert [row[0] for row in verdict(
        {"vtd/map/x": bad, "vtd/map/y": good,
         "vtd/memory/identity to DMA, slab objects": bad,
         "vtd/memory/DMA to DMA-FQ, all": bad,
         "vtd/changes/DMA to identity": bad}, what)] \
        == ["vtd/map/x", "vtd/memory/DMA to DMA-FQ, all"]


def test_what_may_be_slower_is_said():
    what = "nothing else slower or larger"
    shaky = figure([100, 120, 100], [100, 100, 100])
    assert verdict({"vtd/map/x": shaky}, what) \
        == [("vtd/map/x", 1.0, True, False)]
    assert verdict({"vtd/map/x": figure([0], [9])}, what) \
        == [("vtd/map/x", float("inf"), False, True)]
    assert not verdict({"vtd/map/x": figure([0], [0])}, what)


def test_more_processors_have_the_same_targets():
    name = "vtd/changes-4-cpus/DMA to identity"
    assert verdict({name: figure([100], [28])}, "a change to identity") \
        == [(name, 0.28, False, True)]


def test_peer_makes_nothing_unsure():
    name = "vtd/changes/DMA to identity"
    one = benchresults.figure("instructions", {
        "stock": [100], "patched": [20], "peer": [100, 200, 300]})
    assert verdict({name: one}, "a change to identity")[0][3] is True


def test_every_target_is_of_a_part():
    names = {f"{machine}/{part.name}/{figure}"
             for part, machine in benchparts.selected()
             for figure in ("DMA to identity", "identity to DMA",
                            "DMA to DMA-FQ", "identity to DMA, all",
                            "paging, all", "213 functions, all steps",
                            "4 KiB, identity at boot", "64th")}
    for target in benchresults.TARGETS:
        assert target.figures(names), target.what


# The chart

FIGURES = {"vtd/probe/213 functions, all steps": figure([9e6], [1e6]),
           "vtd/probe/16 functions, all steps": figure([1e6], [1e5]),
           "vtd/probe/16 functions, initcall": figure([1], [1]),
           "amd/hot-add/2nd": figure([5000], [4000]),
           "amd/hot-add/all 64": figure([1], [1])}


def test_curves_have_their_points_in_order():
    probe, hot_add = (benchchart.curves(FIGURES, row[4])
                      for row in benchchart.ROWS)
    assert probe == {"vtd": {"stock": [(16, 1e6), (213, 9e6)],
                             "patched": [(16, 1e5), (213, 1e6)]}}
    assert hot_add == {"amd": {"stock": [(2, 5000)], "patched": [(2, 4000)]}}


def test_chart_is_the_same_for_the_same_figures(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(benchchart.packages, "need", lambda *sets: None)
    drawn = []
    for name in ("one.svg", "two.svg"):
        monkeypatch.setattr(benchchart, "CHART", tmp_path / name)
        assert benchchart.draw(results("one", FIGURES))
        drawn.append((tmp_path / name).read_bytes())
    assert drawn[0] == drawn[1]
    assert b"SPDX" in drawn[0] and b"series one" in drawn[0]
    assert not benchchart.draw(results("two", {}))
