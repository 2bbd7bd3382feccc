# SPDX-License-Identifier: GPL-2.0
"""Data stay what they are while types change: at rest, and under load.

A disk with an ext4 filesystem is unmounted for each change of its group's type
and mounted again. Between lazy and strict invalidation a group changes with
its driver bound, so there the disks work all the time.
"""

import hashlib
import random
import subprocess

import pytest

from harness import machinespec, proofs

KINDS = ("identity", "DMA", "DMA-FQ", "auto")
DISK = machinespec.Device("data", "nvme", "00:0b.0", disk_mib=160)
MOUNT = "/run/data"
# Files of 1 MiB, which are compared every so many changes
MIB, EVERY = 64, 10
SHORT_MIB = 8
CHANGES, SHORT_CHANGES = 200, 10
# How often invalidation is made strict, and lazy again
ALTERNATIONS, SHORT_ALTERNATIONS = 1000, 60
# What the load does: jobs are requests under way, one per job
LOAD_OFFSET, LOAD_MIB, JOBS = 16 << 20, 32, 8
SECONDS = 7200


@pytest.fixture(name="long")
def fixture_long(request):
    """Whether all of it is to be done."""
    return request.config.getoption("--long")


# Data at rest

def content(number):
    """1 MiB of data that are different in every file."""
    return random.Random(number).randbytes(1 << 20)


@pytest.fixture(name="filesystem")
def fixture_filesystem(boot, spec, tmp_path, long):
    """A machine with a disk that has files on it, and their sums."""
    folder = tmp_path / "files"
    folder.mkdir()
    sums = {}
    for number in range(MIB if long else SHORT_MIB):
        data = content(number)
        (folder / f"{number:02}").write_bytes(data)
        sums[f"{number:02}"] = hashlib.sha256(data).hexdigest()
    image = tmp_path / f"{DISK.name}.img"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-F", "-d", folder, image,
                    f"{DISK.disk_mib}M"], check=True)
    devices = [device for device in spec.devices if device.model == "edu"]
    with boot("data", devices=devices, present=[DISK],
              extra=DISK.options(tmp_path)) as machine:
        mount(machine)
        yield machine, sums


def mount(machine):
    """Mount the disk's filesystem."""
    machine.run(f"mkdir -p {MOUNT} && "
                f"mount -t ext4 {machine.disk(DISK.name)} {MOUNT}")


def sums_of(machine):
    """The checksums of all files, as the disk itself gives them back."""
    machine.run("echo 3 >/proc/sys/vm/drop_caches")
    lines = machine.run(f"cd {MOUNT} && sha256sum [0-9]*", SECONDS)
    return {name: total for total, name in map(str.split, lines.splitlines())}


def rewrite(machine, number, sums):
    """Write one of the files again, with the data of another."""
    other = f"{(number + 1) % len(sums):02}"
    name = f"{number % len(sums):02}"
    machine.run(f"cp {MOUNT}/{other} {MOUNT}/new && "
                f"mv {MOUNT}/new {MOUNT}/{name}")
    sums[name] = sums[other]


@pytest.mark.needs("identity-to-dma")
def test_files_stay(filesystem, long, record_property):
    """Every change is one of type, or of nothing; every time a file is new."""
    machine, sums = filesystem
    changes = CHANGES if long else SHORT_CHANGES
    seed = random.randrange(1 << 31)
    record_property("figure", f"seed {seed}, {changes} changes")
    chance = random.Random(seed)
    assert sums_of(machine) == sums
    for done in range(1, changes + 1):
        kind = chance.choice(KINDS)
        machine.run(f"umount {MOUNT}")
        status = proofs.set_type(machine, DISK.name, kind)
        assert status == 0
        if kind != "auto":
            assert machine.group_of(DISK.name).type == kind
        mount(machine)
        rewrite(machine, chance.randrange(len(sums)), sums)
        if done % EVERY == 0:
            assert sums_of(machine) == sums
    machine.run(f"umount {MOUNT}")


# Data under load

def alternate(machine, number, names):
    """Change groups with bound drivers, so many times in all."""
    groups = " ".join(str(machine.group_of(name).number) for name in names)
    machine.run(
        f"cd /sys/kernel/iommu_groups; for i in $(seq {number // 2}); do "
        f"for group in {groups}; do "
        "echo DMA >$group/type && [ $(cat $group/type) = DMA ] && "
        "echo DMA-FQ >$group/type && [ $(cat $group/type) = DMA-FQ ] "
        "|| exit 1; done; done", SECONDS)


def make_lazy(machine, name):
    """The group defers flushes."""
    status, text = machine.run_status(
        "echo DMA-FQ >/sys/kernel/iommu_groups/"
        f"{machine.group_of(name).number}/type")
    assert status == 0, text


def start_load(machine, name):
    """Keep a disk busy until stop_load()."""
    machine.run(
        f"rm -f /run/stop /run/status-{name}; "
        f"(/lab/disk-load {machine.disk(name)} {LOAD_OFFSET} {LOAD_MIB} "
        f"{JOBS} /run/stop >/run/load-{name} 2>&1; "
        f"echo $? >/run/status-{name}) >/run/none 2>&1 &")


def stop_load(machine, *names):
    """End the load on all disks; what they have done."""
    machine.run("touch /run/stop")
    said = []
    for name in names:
        machine.run(f"while ! [ -s /run/status-{name} ]; do sleep 0.2; done",
                    SECONDS)
        text = machine.run(f"cat /run/load-{name}")
        assert machine.run(f"cat /run/status-{name}") == "0", text
        said.append(f"{name}: {text}")
    return said


def test_load_while_flushes_change(boot, long, record_property):
    """Both disks are busy; the invalidation of both changes back and forth."""
    names = ("disk0", "disk1")
    number = ALTERNATIONS if long else SHORT_ALTERNATIONS
    with boot("load") as machine:
        for name in names:
            make_lazy(machine, name)
            start_load(machine, name)
        alternate(machine, number, names)
        for line in stop_load(machine, *names):
            record_property("figure", f"{number} changes, {line}")
        for name in names:
            assert proofs.hardware_is(machine, name, "translated")
            assert proofs.type_and_source(machine, name) == ("DMA-FQ",
                                                             "sysfs")
