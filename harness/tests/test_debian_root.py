# SPDX-License-Identifier: GPL-2.0
"""Debian's user space on the named disk: systemd, udev, nvme, lspci, fio."""

import dataclasses
import itertools
import json

import pytest

from harness import debianroot, proofs, settings

pytestmark = [pytest.mark.long, pytest.mark.needs("debian-root")]

NAMED = "0000:00:04.0"
OTHER = "0000:00:05.0"
DISKS = "/dev/disk/by-path"
FIO_MIB, FIO_SECONDS = 32, 600
DOCUMENT = settings.ROOT / "Documentation/admin-guide/iommu-default-type.rst"
RULES = "/etc/udev/rules.d/90-iommu-type.rules"


@pytest.fixture(scope="module", name="debian")
def fixture_debian(boot, spec):
    """A machine whose root filesystem, on the named disk, is Debian's."""
    devices = [dataclasses.replace(each, disk_mib=debianroot.MIB)
               if each.name == "disk0" else each for each in spec.devices]
    with boot("debian-root", devices=devices, root_disk="disk0",
              make_root=debianroot.root_disk,
              boot=[f"pci=iommu_passthrough={NAMED}",
                    *debianroot.BOOT]) as machine:
        yield machine


def test_system_is_up(debian):
    assert debian.run("cat /proc/1/comm") == "systemd"
    # It waits for what is still being started.
    status, said = debian.run_status("systemctl is-system-running --wait",
                                     timeout=300)
    assert (status, said.strip()) == (0, "running"), debian.run(
        "systemctl --failed --no-legend")


def test_udev_knows_both_disks(debian):
    names = debian.run(f"ls {DISKS}").split()
    for address in (NAMED, OTHER):
        assert f"pci-{address}-nvme-1" in names


def test_root_is_on_the_named_disk(debian):
    source = debian.run("findmnt -no SOURCE /")
    assert source.startswith(debian.disk("disk0"))
    group = debian.group_of("disk0")
    assert (group.type, group.source) == ("identity", "parameter")
    assert proofs.type_and_source(debian, "disk1") == proofs.default(debian)


def test_tools_see_the_disks(debian):
    found = json.loads(debian.run("nvme list -o json"))["Devices"]
    assert {each["SerialNumber"] for each in found} == {"disk0", "disk1"}
    for name, address in (("disk0", NAMED), ("disk1", OTHER)):
        number = debian.group_of(name).number
        assert f"IOMMU group {number}\n" in debian.run(
            f"lspci -v -s {address}") + "\n"


def test_type_changes_under_udev(debian):
    """udev sees the disk go and come, and the data are still there."""
    proofs.write_data(debian, "disk1", 9000000)
    for kind in ("identity", "DMA", "auto"):
        assert proofs.set_type(debian, "disk1", kind) == 0
        debian.run("udevadm settle")
        assert debian.run(f"readlink -f {DISKS}/pci-{OTHER}-nvme-1"
                          ) == debian.disk("disk1")
        assert proofs.read_sum(debian, "disk1") == proofs.data_sum(9000000)


def documented(name):
    """The literal block that the document gives for a file."""
    text = DOCUMENT.read_text(encoding="utf-8")
    lines = text[text.index(f"``{name}``::"):].splitlines()[2:]
    return "\n".join(itertools.takewhile(str.strip, lines))


def test_documented_udev_rule(debian):
    """It says which groups came to bypass the IOMMU, and no others."""
    debian.run(f"cat >{RULES} <<'END'\n{documented(RULES)}\nEND\n"
               "udevadm control --reload")
    for kind in ("identity", "DMA", "auto"):
        assert proofs.set_type(debian, "disk1", kind) == 0
    debian.run("udevadm settle")
    number = debian.group_of("disk1").number
    assert debian.run("journalctl -q -t iommu -o cat").splitlines() == [
        f"group {number} bypasses the IOMMU (sysfs)"]


def test_fio_on_both_disks(debian):
    """What several requests at once write is read back and compared."""
    if debian.run_status("[ -d /proc/sysvipc ]")[0]:
        pytest.skip("fio needs shared memory of System V, which only the "
                    "KASAN kernel has")
    targets = {"identity": f"--filename=/root/fio --size={FIO_MIB}M",
               "translated": f"--filename={debian.disk('disk1')} "
                             f"--offset=24M --size={FIO_MIB}M"}
    jobs = " ".join(f"--name={name} {where}"
                    for name, where in targets.items())
    text = debian.run(
        "fio --output-format=json --ioengine=libaio --direct=1 --rw=randwrite "
        "--bsrange=4k-64k --iodepth=16 --verify=crc32c --do_verify=1 "
        f"--verify_fatal=1 {jobs}", FIO_SECONDS)
    found = json.loads(text[text.index("{"):])["jobs"]
    assert [each["jobname"] for each in found] == list(targets)
    for each in found:
        assert each["error"] == 0
        # All of it was written, and read again.
        assert each["write"]["io_bytes"] == FIO_MIB << 20
        assert each["read"]["io_bytes"] == FIO_MIB << 20
