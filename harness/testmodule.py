# SPDX-License-Identifier: GPL-2.0
"""Builds the kernel modules that machines load."""

import shutil

from . import settings
from .kernel import lock, make_command
from .say import log_path, run_logged

SOURCE = settings.ROOT / "tools/testing/selftests/iommu/test_modules"


def sources(source=SOURCE):
    """The files that the modules of a folder are made from."""
    return sorted(path for path in source.iterdir()
                  if path.suffix in (".c", ".h") or path.name == "Makefile")


def build(kernel, folder, source=SOURCE):
    """Build modules for a kernel in an empty folder; their paths."""
    for path in sources(source):
        shutil.copy(path, folder)
    log = log_path("kernel/test-modules")
    with lock(kernel):
        run_logged([*make_command(kernel.tree, kernel.build, kernel.arch),
                    f"M={folder}", "modules"], log,
                   f"building the modules of {source}")
    return sorted(folder.glob("*.ko"))
