# SPDX-License-Identifier: GPL-2.0
"""Debian packages that the harness needs, named and installed by set."""

import os
import shutil
import subprocess

from . import hold, settings
from .say import LabError, Progress, log_path, run_logged, say

SETS = {
    "git": ("git",),
    "base": ("git", "xz-utils"),
    "build": ("bc", "bison", "ccache", "cpio", "flex", "gcc", "git", "kmod",
              "libc6-dev", "libelf-dev", "libssl-dev", "make", "perl",
              "rsync", "xz-utils"),
    "build-arm64": ("gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"),
    "machine": ("acpica-tools", "busybox-static", "cpio", "e2fsprogs", "gcc",
                "libc6-dev", "make", "python3-pytest"),
    "machine-arm64": ("gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross",
                      "qemu-system-arm"),
    "machine-x86_64": ("qemu-system-x86",),
    "check": ("codespell", "flake8", "gcc", "perl", "python3-pytest",
              "shellcheck", "sparse"),
    "chart": ("python3-matplotlib",),
    "cross": ("gcc-aarch64-linux-gnu", "gcc-arm-linux-gnueabihf",
              "gcc-powerpc64-linux-gnu",
              f"linux-config-{settings.BASE_SERIES}"),
    "debian-root": ("e2fsprogs", "genext2fs", "mmdebstrap"),
    "documents": ("perl", "python3-sphinx"),
}

_present = set()


def installed(names):
    """{name: version} of those packages that are installed."""
    if not shutil.which("dpkg-query"):
        raise LabError("this needs Debian: dpkg-query is not there")
    done = subprocess.run(
        ["dpkg-query", "-W", "-f",
         "${db:Status-Status} ${Package} ${Version}\n", *names],
        check=False, capture_output=True, text=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    return {row[1]: row[2] for row in rows
            if len(row) == 3 and row[0] == "installed"}


def _rights():
    """The words before apt-get that give it the rights, or None."""
    if os.geteuid() == 0:
        return ["env"]
    if shutil.which("sudo") and subprocess.run(
            ["sudo", "-n", "true"], check=False,
            capture_output=True).returncode == 0:
        return ["sudo", "-n", "env"]
    return None


def apt_get(*args, what):
    """Run apt-get with the rights to change the system; whether it worked."""
    rights = _rights()
    if rights is None:
        return False
    with Progress(what) as progress:
        status = run_logged(
            [*rights, "DEBIAN_FRONTEND=noninteractive", "apt-get", "-y",
             "-o", "DPkg::Lock::Timeout=300", *args],
            log_path("packages"), what, check=False,
            on_line=lambda line: progress.update(note=line))
    return status == 0


def update():
    """Fetch the archive's lists of packages; whether that worked."""
    return apt_get("update", what="package lists")


def need(*sets):
    """Make sure that the packages of the sets are installed."""
    wanted = sorted({name for each in sets for name in SETS[each]})
    if _present.issuperset(wanted):
        return
    with hold.lock("packages"):
        missing = sorted(set(wanted) - set(installed(wanted)))
        if missing:
            say("missing Debian packages: " + " ".join(missing))
            _install(missing)
    _present.update(wanted)


def _install(missing):
    args = ["install", "--no-install-recommends", *missing]
    what = "installing " + " ".join(missing)
    # A new machine has no lists yet, an old one has stale ones.
    if not apt_get(*args, what=what):
        if not (update() and apt_get(*args, what=what)):
            raise LabError("cannot install what is missing; please run: "
                           "sudo apt-get install " + " ".join(missing))
    left = sorted(set(missing) - set(installed(missing)))
    if left:
        raise LabError("still missing; please run: sudo apt-get install "
                       + " ".join(left))
