# SPDX-License-Identifier: GPL-2.0
"""Which QEMU is installed, and what that asks for."""

import functools
import re
import subprocess

# The first QEMU whose processors can have a host thread each, see below
THREADS = (8, 2)


@functools.lru_cache(maxsize=None)
def version(program="qemu-system-x86_64"):
    """QEMU's own words about its version; None if it is not there."""
    try:
        done = subprocess.run([program, "--version"], check=True,
                              capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.splitlines()[0]


def accelerator(said):
    """What -accel has to be for a QEMU that says this of its version.

    Before 8.2, a processor that reaches for a register while another one
    changes the map of memory, as whoever binds a driver or attaches a device
    does, can reach another device. Disks get what was for a neighbour then,
    and timers stop. With one host thread for all processors this is not so.
    """
    found = re.search(r"version (\d+)\.(\d+)", said or "")
    if found and tuple(map(int, found.groups())) < THREADS:
        return "tcg,thread=single"
    return "tcg"
