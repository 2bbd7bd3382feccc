# SPDX-License-Identifier: GPL-2.0
"""After a crash, DMA of the crashed kernel may still be under way."""

import pytest

from harness import proofs

pytestmark = pytest.mark.needs("kdump")

WISH = "pci=iommu_passthrough=00:04.0"
SEED, NEW_SEED = 7000000, 8000000
# All files of this initramfs but the kernel make the crash kernel's, which
# runs on the processor that crashed.
LOAD = """
cd / && find . -xdev ! -name {image} | cpio -o -H newc >/run/initramfs &&
/lab/load-crash-kernel /lab/{image} /run/initramfs \
    "$(sed 's/crashkernel=[^ ]* *//' /proc/cmdline) nr_cpus=1 {wish}" &&
rm /run/initramfs && cat /sys/kernel/kexec_crash_loaded
"""
CRASH = "taskset 1 sh -c 'echo PANIC >/sys/kernel/debug/provoke-crash/DIRECT'"
PANIC = "dumptest"


@pytest.fixture(scope="module")
def crashed(boot, kernel, spec):
    """A machine in its crash kernel; the first one had translated the disk."""
    disks = [device for device in spec.devices if device.disk_mib]
    set_aside = f"crashkernel={kernel.memory * 5 // 16}M"
    with boot("kdump", devices=disks, programs=[kernel.image],
              boot=[set_aside]) as machine:
        assert proofs.hardware_is(machine, "disk0", "translated")
        proofs.write_data(machine, "disk0", SEED)
        said = machine.run(LOAD.format(image=kernel.image.name, wish=WISH))
        assert said.splitlines()[-1] == "1"
        machine.expect_panic(PANIC)
        machine.crash(CRASH)
        yield machine


def test_crash_kernel_runs(crashed):
    assert crashed.serial().count("Kernel panic") == 1
    line = crashed.run("cat /proc/cmdline")
    assert WISH in line and "elfcorehdr=" in line


def test_wish_is_ignored_and_said(crashed):
    assert proofs.type_and_source(crashed, "disk0") == proofs.default(crashed)
    assert proofs.said_of(crashed, "disk0")[-1] == proofs.not_granted(
        crashed, "disk0",
        "a crashed kernel left translation enabled for 0000:00:04.0")


def test_disk_works(crashed):
    proofs.wait_for_disk(crashed, "disk0")
    # A disk that was still on the crashed kernel's tables would fault, and
    # debugfs shows no entries of a bus that has copied ones.
    assert proofs.read_sum(crashed, "disk0") == proofs.data_sum(SEED)
    proofs.write_data(crashed, "disk0", NEW_SEED)
    assert proofs.read_sum(crashed, "disk0") == proofs.data_sum(NEW_SEED)
