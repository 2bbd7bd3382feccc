# SPDX-License-Identifier: GPL-2.0
"""A disk with a small Debian on it: systemd, udev, and what people use.

mmdebstrap makes it once, from the archive that this machine's own packages
come from. The guest's agent is a service there.
"""

import hashlib
import subprocess
from pathlib import Path

from . import hold, packages, settings
from .initramfs import GUEST, START, partition_table
from .say import LabError, Progress, log_path, output_of, run_logged

INCLUDED = ("systemd-sysv", "udev", "fio", "nvme-cli", "pciutils")
# Of the disk; the filesystem takes what the partition table leaves.
MIB = 1024
# What no test reads
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")
SERVICE = "lab-agent.service"
TARGET = ("$(REPO_URI) $(CODENAME)", "Created-By: Packages",
          "Origin: Debian", "Label: Debian", "Component: main")
# Nobody is asked anything at the first boot.
BOOT = ["systemd.firstboot=off"]


def archive():
    """(address, name) of the release that apt-get here installs from."""
    for line in output_of(["apt-get", "indextargets", "--format",
                           *TARGET]).splitlines():
        address, name = line.split()
        # Not its updates, which have a name with a dash.
        if "-" not in name:
            return address, name
    raise LabError("apt-get here has no Debian archive to make a root "
                   "filesystem from; please run: apt-get update")


def _command(address, name, target):
    """What makes the filesystem."""
    hooks = [f"copy-in {GUEST}/agent {GUEST}/{SERVICE} /",
             f'mv "$1/{SERVICE}" "$1/etc/systemd/system/"',
             f'chroot "$1" systemctl enable {SERVICE}',
             # Looks for disks on a network, which there is not
             'chroot "$1" systemctl disable nvmf-autoconnect.service',
             'echo lab >"$1/etc/hostname"']
    return ["mmdebstrap", "--variant=minbase", "--format=ext2",
            f"--include={','.join(INCLUDED)}",
            *[f"--dpkgopt=path-exclude={each}" for each in LEFT_OUT],
            *[f"--customize-hook={hook}" for hook in hooks],
            name, target, address]


def _state(name):
    total = hashlib.sha256(Path(__file__).read_bytes() + name.encode())
    for file in ("agent", SERVICE):
        total.update((GUEST / file).read_bytes())
    return total.hexdigest()[:16]


def filesystem():
    """The file with the filesystem, made when it is not there."""
    packages.need("machine", "debian-root")
    address, name = archive()
    folder = settings.BUILD / "debian-root" / _state(name)
    with hold.lock("debian-root"):
        if not folder.is_dir():
            with hold.made_whole(folder) as part:
                _make(part / "root.ext2", address, name)
    return folder / "root.ext2"


def _make(target, address, name):
    log = log_path("machine/debian-root")
    with Progress(f"a root filesystem of Debian {name}") as progress:
        run_logged(_command(address, name, target), log, "mmdebstrap",
                   on_line=lambda line: progress.update(note=line[:60]))
    run_logged(["resize2fs", target, f"{MIB - 1}M"], log, "resize2fs")


def root_disk(_kernel, image, mib):
    """Make a disk image whose first partition is Debian's root."""
    if mib != MIB:
        raise LabError(f"a disk for Debian has {MIB} MiB, not {mib}")
    with open(image, "wb") as disk:
        disk.write(partition_table(START, (mib << 20) - START))
        disk.truncate(mib << 20)
    subprocess.run(["dd", f"if={filesystem()}", f"of={image}", "bs=1M",
                    f"seek={START >> 20}", "conv=notrunc,sparse",
                    "status=none"], check=True)
