# SPDX-License-Identifier: GPL-2.0
"""Locks between two ./lab, and folders that are whole or not there."""

import contextlib
import fcntl
import os
import shutil

from . import settings
from .say import LabError, say

_held = {}


@contextlib.contextmanager
def lock(name):
    """Hold the lock called name; wait, and say so, while another has it.

    The kernel drops the lock when the process ends, however it ends. Taking
    a lock twice in one process is allowed and counts.
    """
    if name in _held:
        _held[name] += 1
        try:
            yield
        finally:
            _held[name] -= 1
        return
    folder = settings.BUILD / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / name, "a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            say(f"waiting for another ./lab (process {file.read().strip()}) "
                f"to finish with {name}")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        _held[name] = 1
        try:
            yield
        finally:
            del _held[name]


@contextlib.contextmanager
def made_whole(folder):
    """Make a folder so that it is there whole or not at all.

    Yields a temporary folder beside it, which is renamed into place when the
    block ends well; what an interrupted run left is removed first. What was
    there before goes only when the new one is in its place.
    """
    part = folder.with_name(folder.name + ".part")
    old = folder.with_name(folder.name + ".old")
    if old.exists() and not folder.exists():
        old.rename(folder)
    shutil.rmtree(part, ignore_errors=True)
    if part.exists():
        raise LabError(f"cannot remove {part}, left by an interrupted run")
    part.mkdir(parents=True)
    yield part
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
