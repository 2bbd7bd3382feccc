# SPDX-License-Identifier: GPL-2.0
"""Every name, version and place that more than one module needs."""

import os
from pathlib import Path

# The base kernel. This is the only place that pins its version; when the
# archive no longer has it, the newest 6.12.y that it offers is used instead.
BASE_SERIES = "6.12"
BASE_PACKAGE = f"linux-source-{BASE_SERIES}"
BASE_VERSION = "6.12.117-1~deb12u1"

ROOT = Path(__file__).resolve().parent.parent
HARNESS = ROOT / "harness"
PATCHES = ROOT / "patches" / BASE_SERIES
BUILD = ROOT / "build"
LOGS = BUILD / "logs"
TREE = BUILD / f"linux-{BASE_SERIES}"
REFERENCE = HARNESS / "reference"

# Folders at the top level that hold new files at their kernel paths.
NEW_FILE_ROOTS = ("Documentation", "drivers", "include", "tools")

# Who commits what the harness itself commits (the base, the new files).
# Fixed, so that the same input gives the same commit everywhere.
HARNESS_IDENTITY = {
    "GIT_AUTHOR_NAME": "lab",
    "GIT_AUTHOR_EMAIL": "lab@localhost",
    "GIT_AUTHOR_DATE": "2024-11-17T00:00:00Z",
    "GIT_COMMITTER_NAME": "lab",
    "GIT_COMMITTER_EMAIL": "lab@localhost",
    "GIT_COMMITTER_DATE": "2024-11-17T00:00:00Z",
}


def jobs():
    """How many compilers run at once."""
    return len(os.sched_getaffinity(0))


def new_files():
    """Repository paths (as str, sorted) of all the series' new files."""
    found = []
    for top in NEW_FILE_ROOTS:
        for path in (ROOT / top).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                found.append(str(path.relative_to(ROOT)))
    return sorted(found)
