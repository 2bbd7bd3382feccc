# SPDX-License-Identifier: GPL-2.0
"""The stock kernel that the series stands on, from its Debian package."""

import functools
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import hold, packages, settings
from .say import LabError, Progress, log_path, run_logged, say

INSTALLED_TARBALL = Path("/usr/src") / f"{settings.BASE_PACKAGE}.tar.xz"
FETCHED = settings.BUILD / "base"


@dataclass(frozen=True)
class Base:
    """A base kernel: the package's version, the kernel's, the source."""

    version: str
    upstream: str
    tarball: Path


def upstream_of(version):
    """6.12.117 from 6.12.117-1~deb12u1."""
    return version.rsplit("-", 1)[0]


def newer(one, other):
    """Whether package version one is newer than other."""
    return subprocess.run(["dpkg", "--compare-versions", one, "gt", other],
                          check=False).returncode == 0


def newest(versions):
    """The newest of some package versions."""
    return functools.reduce(
        lambda best, each: each if newer(each, best) else best, versions)


def local():
    """{version: tarball} of the sources that need no network."""
    found = {}
    for tarball in FETCHED.glob("*/*.tar.xz"):
        if not tarball.parent.name.endswith(".part"):
            found[tarball.parent.name] = tarball
    version = packages.installed([settings.BASE_PACKAGE]).get(
        settings.BASE_PACKAGE)
    if version and INSTALLED_TARBALL.is_file():
        found[version] = INSTALLED_TARBALL
    return found


def offered():
    """Versions of the package that the archive offers, as apt knows it."""
    done = subprocess.run(["apt-cache", "madison", settings.BASE_PACKAGE],
                          check=False, capture_output=True, text=True)
    return [line.split("|")[1].strip() for line in done.stdout.splitlines()
            if line.count("|") == 2 and "Sources" not in line]


def _fetch(version):
    """Download a version without installing it; its tarball.

    What is installed stays as it is, and no rights are needed.
    """
    folder = FETCHED / version
    name = f"{settings.BASE_PACKAGE}={version}"
    with hold.lock("base"), hold.made_whole(folder) as part, \
            Progress(f"fetching {name}") as progress:
        log = log_path("base")
        run_logged(["apt-get", "download", name], log,
                   f"downloading {name}", cwd=part,
                   on_line=lambda line: progress.update(note=line))
        package, = part.glob("*.deb")
        run_logged(["dpkg-deb", "-x", package, "."], log,
                   f"unpacking {name}", cwd=part)
        package.unlink()
        source = part / INSTALLED_TARBALL.relative_to("/")
        source.rename(part / source.name)
    return folder / INSTALLED_TARBALL.name


@functools.lru_cache(maxsize=None)
def base(version=None):
    """The base kernel; without a version the pinned one.

    When the pinned one is nowhere to be had it is the newest 6.12.y that is,
    and that is said.
    """
    pinned = version or settings.BASE_VERSION
    have = local()
    if pinned in have:
        return Base(pinned, upstream_of(pinned), have[pinned])
    packages.need("base")
    archive = offered()
    if pinned not in archive:
        packages.update()
        archive = offered()
    if pinned in archive:
        return Base(pinned, upstream_of(pinned), _fetch(pinned))
    everything = [*have, *archive]
    if version or not everything:
        raise LabError(f"no {settings.BASE_PACKAGE} {pinned} to be had; "
                       "with a network, please run: sudo apt-get update && "
                       f"sudo apt-get install {settings.BASE_PACKAGE}")
    used = newest(everything)
    say(f"the archive no longer has {settings.BASE_PACKAGE} {pinned}, the "
        f"pinned version; using {used}")
    return Base(used, upstream_of(used), have.get(used) or _fetch(used))


def second():
    """The newest 6.12.y that the archive offers besides the one used."""
    used = base().version
    others = [each for each in offered() if each != used]
    if not others:
        raise LabError("the archive offers no second version of "
                       + settings.BASE_PACKAGE)
    return base(newest(others))
