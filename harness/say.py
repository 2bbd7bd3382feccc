# SPDX-License-Identifier: GPL-2.0
"""Talking to the person: steps, progress, errors; running a logged command."""

import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from . import settings

TAIL_LINES = 15


class LabError(Exception):
    """What went wrong, in words for the person; ends ./lab with status 1."""


def say(text=""):
    """Print one line at once."""
    print(text, flush=True)


class Progress:
    """One line that is redrawn on a terminal, a line now and then elsewhere.

    Use as a context manager; call update() as often as you like. total may
    be None when it is not known beforehand; about says that it is an
    estimate.
    """

    def __init__(self, what, total=None, about=False):
        self.what = what
        self.total = total
        self.about = about
        self.done = 0
        self.start = self.shown = time.monotonic()
        self.tty = sys.stdout.isatty()
        self.every = 0.1 if self.tty else 20

    def __enter__(self):
        self._draw()
        return self

    def __exit__(self, kind, value, traceback):
        self._draw(end=" - failed" if kind else " - done", final=True)

    def update(self, done=None, total=None, note=""):
        """Set how far it is; draws only when enough time has passed."""
        if done is not None:
            self.done = done
        if total is not None:
            self.total = total
        if time.monotonic() - self.shown >= self.every:
            self._draw(note)

    def _draw(self, note="", end="", final=False):
        self.shown = time.monotonic()
        count = ""
        if self.total:
            about = "about " if self.about and not final else ""
            count = f" {self.done} of {about}{self.total}"
        elif self.done:
            count = f" {self.done}"
        line = f"{self.what}:{count} ({self.shown - self.start:.0f} s){end}"
        if note and not final:
            line += f" {note}"
        if not self.tty:
            print(line, flush=True)
            return
        width = os.get_terminal_size().columns or 80
        print("\r\033[K" + line[:width - 1], end="\n" if final else "",
              flush=True)


def log_path(name):
    """Where the log called name is kept; its folder is made."""
    path = settings.LOGS / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def tail(path, lines=TAIL_LINES):
    """The last lines of a log, for an error message."""
    text = Path(path).read_text(errors="replace").splitlines()
    return "\n".join("    " + line for line in text[-lines:])


def run_logged(argv, log, what, cwd=None, env=None, on_line=None, check=True):
    """Run argv with everything it prints in the log file, return its status.

    on_line(line) is called for every line that it prints. A command that
    fails raises LabError with the last lines and the log's place, unless
    check is False.
    """
    log = Path(log)
    log.parent.mkdir(parents=True, exist_ok=True)
    full_env = {**os.environ, **(env or {})}
    with open(log, "a", encoding="utf-8", errors="replace") as out:
        out.write("$ " + shlex.join(str(arg) for arg in argv) + "\n")
        out.flush()
        with subprocess.Popen([str(arg) for arg in argv], cwd=cwd,
                              env=full_env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True,
                              errors="replace",
                              start_new_session=True) as child:
            try:
                for line in child.stdout:
                    out.write(line)
                    if on_line:
                        on_line(line.rstrip("\n"))
            except BaseException:
                # With all that it has started: a make that goes on would
                # write where the next ./lab does.
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.pid, signal.SIGTERM)
                raise
        status = child.returncode
    if check and status:
        raise LabError(f"{what} failed (status {status}). Its last lines:\n"
                       f"{tail(log)}\n  full log: {log}")
    return status


def output_of(argv, cwd=None, env=None, stdin=None):
    """What a short command prints; LabError with its stderr if it fails."""
    done = subprocess.run([str(arg) for arg in argv], cwd=cwd, check=False,
                          env={**os.environ, **(env or {})}, input=stdin,
                          capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise LabError(f"{shlex.join(str(arg) for arg in argv)} failed "
                       f"(status {done.returncode}):\n{done.stderr.strip()}")
    return done.stdout
