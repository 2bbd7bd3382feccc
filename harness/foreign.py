# SPDX-License-Identifier: GPL-2.0
"""Debian's busybox for a machine of another architecture than this one.

apt fetches it with lists of its own, so that this system need not know of
the other architecture, and no rights are needed.
"""

import shutil
from pathlib import Path

from . import hold, settings
from .say import Progress, log_path, run_logged

OWN = {"x86_64": Path("/bin/busybox")}
PACKAGE = "busybox-static"


def busybox(arch):
    """The program, fetched unless it is there."""
    return OWN.get(arch) or _fetched(arch)


def _fetched(arch):
    folder = settings.BUILD / "foreign" / arch
    with hold.lock("foreign"):
        if not folder.is_dir():
            with hold.made_whole(folder) as part:
                _fetch(arch, part)
    return folder / "busybox"


def _fetch(arch, folder):
    apt = folder / "apt"
    (apt / "lists").mkdir(parents=True)
    log, what = log_path("foreign"), f"fetching {PACKAGE} for {arch}"
    command = ["apt-get"]
    for option in (f"APT::Architecture={arch}", f"APT::Architectures={arch}",
                   "APT::Sandbox::User=", "Acquire::Languages=none",
                   f"Dir::State::lists={apt / 'lists'}",
                   "Dir::State::status=/dev/null",
                   f"Dir::Cache={apt / 'cache'}"):
        command += ["-o", option]
    with Progress(what) as progress:
        def show(line):
            progress.update(note=line)
        # An archive without this architecture is no matter if another has it.
        run_logged([*command, "update"], log, what, check=False, on_line=show)
        run_logged([*command, "download", PACKAGE], log, what, cwd=folder,
                   on_line=show)
        package, = folder.glob("*.deb")
        run_logged(["dpkg-deb", "-x", package, apt / "files"], log, what)
        package.unlink()
    (apt / "files/bin/busybox").rename(folder / "busybox")
    shutil.rmtree(apt)
