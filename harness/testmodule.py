# SPDX-License-Identifier: GPL-2.0
"""Builds the kernel modules that the machine tests load."""

import shutil

from . import settings
from .kernel import lock, make_command
from .say import log_path, run_logged

SOURCE = settings.ROOT / "tools/testing/selftests/iommu/test_modules"


def sources():
    """The files that the modules are made from."""
    return sorted(path for path in SOURCE.iterdir()
                  if path.suffix in (".c", ".h") or path.name == "Makefile")


def build(kernel, folder):
    """Build the modules for a kernel in an empty folder; their paths."""
    for path in sources():
        shutil.copy(path, folder)
    log = log_path("kernel/test-modules")
    with lock(kernel):
        run_logged([*make_command(kernel.tree, kernel.build, kernel.arch),
                    f"M={folder}", "modules"], log,
                   "building the test modules")
    return sorted(folder.glob("*.ko"))
