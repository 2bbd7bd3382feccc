# SPDX-License-Identifier: GPL-2.0
"""The guest's user space: a folder, as an initramfs or on a disk image."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import foreign, hold, packages, settings, testmodule
from .kernel import CROSS
from .say import LabError, run_logged, log_path

GUEST = settings.HARNESS / "guest"
SCRIPTS = ("init", "agent")
KEPT = 8
FOLDERS = ("bin", "sbin", "dev", "proc", "sys", "run", "root", "tmp", "lab")


@dataclass(frozen=True)
class Contents:
    """What is built for a guest: a folder's modules, and programs by name."""

    modules: Path
    programs: tuple


TESTS = Contents(testmodule.SOURCE,
                 ("add-vdpa-device", "disk-load", "load-crash-kernel"))


def _inputs(kernel, programs, contents):
    """One value for everything that the guest's files are made from."""
    total = hashlib.sha256(Path(__file__).read_bytes())
    total.update(kernel.arch.encode())
    paths = [GUEST / name for name in SCRIPTS]
    paths += [foreign.OWN["x86_64"], foreign.busybox(kernel.arch)]
    paths += [GUEST / f"{name}.c" for name in contents.programs]
    paths += [*testmodule.sources(contents.modules),
              kernel.build / "Module.symvers", kernel.build / ".config",
              kernel.build / "include/config/kernel.release", *programs]
    for path in paths:
        if not path.is_file():
            raise LabError(f"{path} is missing, the guest needs it")
        total.update(path.name.encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:16]


def _fill(root, kernel, programs, contents):
    """Put all files in an empty folder."""
    for name in FOLDERS:
        (root / name).mkdir()
    shutil.copy(foreign.busybox(kernel.arch), root / "bin/busybox")
    # Only this machine's own can be asked; Debian configures all the same.
    applets = subprocess.run([foreign.OWN["x86_64"], "--list"], check=True,
                             text=True, capture_output=True).stdout.split()
    for name in applets:
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    for name in SCRIPTS:
        shutil.copy(GUEST / name, root / name)
        (root / name).chmod(0o755)
    (root / "sbin/init").symlink_to("../init")
    with tempfile.TemporaryDirectory() as work:
        for module in testmodule.build(kernel, Path(work), contents.modules):
            shutil.copy(module, root / "lab")
    for name in contents.programs:
        run_logged([f"{CROSS[kernel.arch]}gcc", "-static", "-O2", "-Wall",
                    "-Werror", GUEST / f"{name}.c", "-o", root / "lab" / name],
                   log_path("machine/programs"), f"building {name}")
    for path in programs:
        shutil.copy(path, root / "lab")
    # The same files give the same archive.
    for path in [root, *root.rglob("*")]:
        os.utime(path, (0, 0), follow_symlinks=False)


def _archive(root, target):
    """Pack a folder; owner and order do not depend on who runs it."""
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
    with open(target, "wb") as out:
        subprocess.run(["cpio", "--quiet", "--reproducible", "-o", "-H",
                        "newc", "-R", "0:0"], check=True, cwd=root,
                       input="\n".join(names).encode(), stdout=out)


def guest_root(kernel, programs=(), contents=TESTS):
    """A folder with the guest's files, made when anything changed."""
    packages.need("machine", f"machine-{kernel.arch}")
    folder = settings.BUILD / "guest" / _inputs(kernel, programs, contents)
    with hold.lock("guest"):
        if not folder.is_dir():
            with hold.made_whole(folder) as part:
                (part / "root").mkdir()
                _fill(part / "root", kernel, programs, contents)
                _archive(part / "root", part / "initramfs.cpio")
            _forget_old(folder.parent)
    return folder / "root"


def _forget_old(folder):
    """Keep what another ./lab may be booting, not what nobody will."""
    made = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
    for old in made[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def initramfs(kernel, programs=(), contents=TESTS):
    """The initramfs for a kernel, with programs added in /lab."""
    return guest_root(kernel, programs, contents).parent / "initramfs.cpio"


def root_disk(kernel, image, mib):
    """Make a disk image whose first partition is the guest's root.

    The kernel finds it by root_option() without an initramfs.
    """
    with open(image, "wb") as disk:
        disk.write(partition_table(START, (mib << 20) - START))
        disk.truncate(mib << 20)
    run_logged(["mke2fs", "-q", "-t", "ext4", "-F", "-d", guest_root(kernel),
                "-E", f"offset={START},root_owner=0:0", image,
                f"{mib - 1}M"], log_path("machine/root-disk"),
               "making the root filesystem")


DISK_SIGNATURE = 0x6c616231
SECTOR = 512
# Where the first partition begins, in bytes
START = 1 << 20


def root_option():
    """The words on the boot line that mount what root_disk() made."""
    return [f"root=PARTUUID={DISK_SIGNATURE:08x}-01", "rootwait", "rw"]


def partition_table(start, size):
    """A DOS partition table with one Linux partition."""
    entry = bytes([0, 0, 0, 0, 0x83, 0, 0, 0])
    entry += (start // SECTOR).to_bytes(4, "little")
    entry += (size // SECTOR).to_bytes(4, "little")
    return (bytes(440) + DISK_SIGNATURE.to_bytes(4, "little") + bytes(2)
            + entry + bytes(48) + b"\x55\xaa")
