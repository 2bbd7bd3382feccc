# SPDX-License-Identifier: GPL-2.0
"""The splat rule finds what it must and nothing else."""

from types import SimpleNamespace

import pytest

from harness import machinespec, proofs, splats
from harness.machine import Machine
from harness.say import LabError

GOOD = """\
[    0.000000] Linux version 6.12.117
[    0.100000] kfence: initialized - using 2097152 bytes
[    1.000000] pci 0000:00:04.0: Adding to iommu group 1
[    1.200000] rcu: Hierarchical SRCU implementation.
[    1.300000] warning: a word that is no splat
"""
FAULT = ("[    2.500000] DMAR: [DMA Write NO_PASID] Request device [00:06.0] "
         "fault addr 0x3456000 [fault reason 0x05] PTE Write access is not "
         "set\n")
# One report of each machine's IOMMU, as runs have shown them, and what it is
REPORTS = {
    "vtd": (FAULT, ("00:06.0", 0x3456000)),
    "vtd-scalable": (
        "[   11.684182] DMAR: [DMA Write PASID 0x0] Request device [00:06.0] "
        "fault addr 0x423d000 [fault reason 0x05] PTE Write access is not "
        "set\n", ("00:06.0", 0x423d000)),
    "amd": ("amdvi_translation_result devid: 00:06.0 gpa 0x44fd004 hpa 0x0\n",
            ("00:06.0", 0x44fd000)),
    "virtio": ("[   11.473868] virtio_iommu virtio0: page fault from EP 48 at "
               "0x3b44004 []\n", ("00:06.0", 0x3b44000)),
    "smmuv3": ("""\
[    4.747647] arm-smmu-v3 9050000.smmuv3: event 0x10 received:
[    4.747936] arm-smmu-v3 9050000.smmuv3: \t0x0000003000000010
[    4.748104] arm-smmu-v3 9050000.smmuv3: \t0x0000000000000000
[    4.748258] arm-smmu-v3 9050000.smmuv3: \t0x000000004403e004
[    4.748443] arm-smmu-v3 9050000.smmuv3: \t0x0000000000000000
""", ("00:06.0", 0x4403e000)),
}
# What no driver reports
ABORT = ("smmuv3_translate_abort smmuv3-iommu-memory-region-48-3 sid=0x30 "
         "abort on iova:0x4001004 is_write=0\n")
# The same device and address, not blocked
FINE = "amdvi_translation_result devid: 00:06.0 gpa 0x44fd000 hpa 0x44fd000\n"
BAD = [
    "WARNING: CPU: 0 PID: 1 at drivers/iommu/iommu.c:1 foo+0x1/0x2",
    "WARNING: possible circular locking dependency detected",
    "WARNING: suspicious RCU usage",
    "BUG: kernel NULL pointer dereference, address: 0000000000000000",
    "BUG: sleeping function called from invalid context at mm/slab.h:1",
    "BUG: KASAN: slab-use-after-free in foo+0x1/0x2",
    "BUG: KFENCE: use-after-free read in foo+0x1/0x2",
    "BUG: scheduling while atomic: sh/1/0x00000002",
    "Oops: 0000 [#1] PREEMPT SMP",
    "Oops: general protection fault, probably for non-canonical address",
    "kernel BUG at drivers/iommu/iommu.c:1!",
    "kmemleak: 1 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
    "rcu: INFO: rcu_preempt self-detected stall on CPU",
    "INFO: task sh:1 blocked for more than 120 seconds.",
    "INFO: trying to register non-static key.",
    "list_add corruption. prev->next should be next",
    "Kernel panic - not syncing: Attempted to kill init!",
]


def test_good_log_is_good():
    assert not splats.findings(GOOD)


@pytest.mark.parametrize("line", BAD)
def test_splat_is_found(line):
    found = splats.findings(f"{GOOD}[    3.000000] {line}\nnext\n")
    assert len(found) == 1
    assert line in found[0] and "next" in found[0]


def test_thread_stamp_is_seen_through():
    assert splats.findings("[    3.000000][   T10] WARNING: CPU: 0\n")


def test_one_splat_is_one_finding():
    log = "[ 3.0] WARNING: possible recursive locking\n[ 3.0] BUG: more\n"
    assert len(splats.findings(log)) == 1


@pytest.mark.parametrize("name", machinespec.names(), ids="of-{}".format)
def test_fault_must_be_declared(name):
    report, fault = REPORTS[name]
    found = splats.findings(GOOD + report + GOOD)
    assert found == [report.rstrip("\n")]
    assert not splats.findings(GOOD + report, [splats.Fault(*fault)])


def test_report_is_waited_for_until_it_is_whole():
    report, _ = REPORTS["smmuv3"]
    lines = report.splitlines(keepends=True)
    for number in range(1, len(lines)):
        begun = GOOD + "".join(lines[:number])
        assert splats.without_open_report(begun) == GOOD
        # Nothing more of it came.
        assert splats.findings(begun)
    for log in (GOOD, GOOD + report, GOOD + report + GOOD):
        assert splats.without_open_report(log) == log


def test_report_from_before_is_not_waited_for(tmp_path):
    log = tmp_path / "serial.log"
    log.write_text(GOOD + FAULT)
    machine = Machine(SimpleNamespace(slower=1), log)
    assert machine.wait_for_fault("edu0", 0x3456000, timeout=0)
    machine.expect_fault("edu0", 0x3456008)
    with pytest.raises(LabError, match="no fault of 00:06.0 at 0x3456000"):
        machine.wait_for_fault("edu0", 0x3456008, timeout=0)
    before = machine.logs_so_far()
    with log.open("a") as file:
        file.write(FAULT)
    assert machine.wait_for_fault("edu0", 0x3456008, timeout=0)
    # Declared when it is over
    machine.expect_fault("edu0", 0x3456008)
    with pytest.raises(LabError, match="no fault of"):
        machine.wait_for_fault("edu0", 0x3456008, timeout=0)
    machine.expect_fault("edu0", 0x3456008, before)
    assert machine.wait_for_fault("edu0", 0x3456008, timeout=0)


def test_report_that_cannot_be_read_is_found():
    report, fault = REPORTS["smmuv3"]
    lines = report.splitlines(keepends=True)
    log = "".join([GOOD, *lines[:2], "[ 1.0] another\n", *lines[2:]])
    assert splats.findings(log, [splats.Fault(*fault)])


def test_abort_must_be_declared():
    assert splats.findings(GOOD + ABORT) == [ABORT.rstrip("\n")]
    assert not splats.findings(ABORT, [splats.Fault("00:06.0", 0x4001000)])


def test_transfer_that_is_not_blocked_is_no_fault():
    assert not splats.findings(GOOD + FINE)


@pytest.mark.parametrize("other", [("00:07.0", 0x3456000),
                                   ("00:06.0", 0x3457000)])
def test_fault_of_another_is_not_declared(other):
    assert splats.findings(GOOD + FAULT, [splats.Fault(*other)])


def test_panic_must_be_declared():
    log = GOOD + "[ 3.0] Kernel panic - not syncing: dumptest\n"
    assert len(splats.findings(log)) == 1
    assert not splats.findings(log, [splats.Panic("dumptest")])
    assert splats.findings(log, [splats.Panic("dump")])
    assert splats.findings(log + "[ 3.1] BUG: more\n",
                           [splats.Panic("dumptest")])


def test_planted_warning_is_found(plain):
    plain.run("echo WARNING >/sys/kernel/debug/provoke-crash/DIRECT")
    plain.wait_for("end trace")
    found = plain.findings()
    assert len(found) == 1
    assert "lkdtm" in found[0]


def test_planted_fault_is_found(plain):
    edu = proofs.Edu(plain, "edu0")
    victim = edu.victim_address
    edu.write(victim, 1)
    plain.wait_for_fault("edu0", victim)
    found = plain.findings()
    # The device's write may be reported as several, all to this page.
    assert found and all(f"{victim >> 12:x}" in excerpt for excerpt in found)
