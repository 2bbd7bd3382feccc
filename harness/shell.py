# SPDX-License-Identifier: GPL-2.0
"""./lab shell: a machine's console in this terminal."""

import subprocess
import tempfile
from pathlib import Path

from . import emulator, initramfs, machinespec, packages
from . import kernel as kernels
from .say import LabError, say

# QEMU's options without a value that a person may want here.
BARE = ("-S", "-s", "-enable-kvm", "-snapshot", "-singlestep", "-no-hpet")

HELP = """\
usage: ./lab shell [--machine NAME] [KERNEL WORDS] [QEMU OPTIONS]

Words such as pci=iommu_passthrough=00:04.0 or nosmp go to the boot line,
options such as -m 1G or -device edu go to QEMU with their values."""


def split_words(words):
    """(kernel words, QEMU options): an option takes what follows it.

    What follows an option is its value, unless it is an option as well or
    the option is known to have none.
    """
    kernel, options = [], []
    value_next = False
    for word in words:
        if word.startswith("-"):
            options.append(word)
            value_next = word not in BARE
        elif value_next:
            options.append(word)
            value_next = False
        else:
            kernel.append(word)
    return kernel, options


def split_machine(words):
    """(name, other words): --machine NAME is for us, -machine for QEMU."""
    if "--machine" not in words:
        return machinespec.DEFAULT, words
    at = words.index("--machine")
    if at + 1 == len(words):
        raise LabError("--machine needs a name; there are: "
                       + ", ".join(machinespec.names()))
    return words[at + 1], words[:at] + words[at + 2:]


def command(kernel, words, images, spec):
    """QEMU's command line for a console on this terminal."""
    machinespec.make_images(spec.devices, images)
    boot, options = split_words(words)
    # A choice of the person's replaces ours.
    accel = None
    if "-accel" not in options and "-enable-kvm" not in options:
        accel = emulator.accelerator(emulator.version(spec.qemu))
    return [*spec.qemu_options(spec.devices, images, kernel.memory, accel),
            "-chardev", "stdio,id=console,mux=on,signal=off",
            "-chardev", "null,id=agent", "-mon", "chardev=console",
            "-kernel", str(kernel.image),
            "-initrd", str(initramfs.initramfs(kernel)),
            "-append", spec.boot_line(boot), *options]


def run(words, kernel=None):
    """Boot and hand over the terminal; QEMU's exit status."""
    if words and words[0] in ("-h", "--help"):
        say(HELP)
        return 0
    name, words = split_machine(words)
    spec = machinespec.spec(name)
    packages.need("machine", f"machine-{spec.arch}")
    kernel = kernel or kernels.build("test", spec.arch)
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        argv = command(kernel, words, Path(folder), spec)
        say("Ctrl-A X ends the machine, `exit` switches it off; the devices "
            "are on 00:04.0 to 00:09.0,")
        say("IOMMU groups in /sys/kernel/iommu_groups.")
        try:
            return subprocess.run(argv, check=False).returncode
        except FileNotFoundError as error:
            raise LabError(f"{argv[0]} is not installed") from error
