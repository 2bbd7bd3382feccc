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

    Before 8.2, a processor that reaches for a register while another thread
    changes the map of memory can reach another device. A disk gets what was
    for its neighbour then, or a timer is not set and the guest stands still.
    Whoever binds a driver or attaches a device changes the map. With one
    thread for all processors only QEMU's own thread is left to do so, such as
    when a card is plugged.
    """
    found = re.search(r"version (\d+)\.(\d+)", said or "")
    if found and tuple(map(int, found.groups())) < THREADS:
        return "tcg,thread=single"
    return "tcg"
