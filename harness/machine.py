# SPDX-License-Identifier: GPL-2.0
"""A running virtual machine: start it, run commands in it, judge its log."""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from . import emulator, machinespec, settings, splats
from . import initramfs as guest
from .agent import Agent
from .qmp import Qmp
from .say import LabError, tail

# Nothing is tested by how long it takes; these only end what hangs, and are
# for the test kernel.
BOOT_SECONDS = 900
COMMAND_SECONDS = 600
END_SECONDS = 600

GROUPS_SCRIPT = """
cd /sys/kernel/iommu_groups || exit 1
for group in *; do
    echo "group $group $(cat $group/type) $(cat $group/type_source 2>&-)"
    for device in $group/devices/*; do
        driver=$(readlink $device/driver)
        echo "device ${device##*/} ${driver##*/}"
    done
done
"""

# What pciehp does: power for a port's slot, and a look at what is in it. The
# port's registers are in its PCI Express capability, which is number 16.
SLOT_SCRIPT = """
cd /sys/bus/pci/devices/$port || exit 1
byte() { od -A n -t u1 -j $1 -N 1 config | tr -d ' '; }
at=$(byte 52)
until [ $(byte $at) = 16 ]; do
    at=$(byte $((at + 1)))
    [ $at -gt 0 ] || exit 1
done
control() {
    printf $1 | dd of=config bs=2 seek=$((at / 2 + 12)) conv=notrunc 2>&-
}
"""
SLOT_ON = "control '\\000\\001' && echo 1 >/sys/bus/pci/rescan"
SLOT_OFF = """
for remove in 0*/remove; do
    [ ! -e $remove ] || echo 1 >$remove || exit 1
done
control '\\000\\007'
"""

# A leak is told when two scans in a row find nothing that points to it, and
# it is older than 5 seconds. Without kmemleak in the kernel there is no file.
LEAK_SCRIPT = """
leaks=/sys/kernel/debug/kmemleak
[ -e $leaks ] || exit 0
echo scan >$leaks && sleep 6 && echo scan >$leaks && cat $leaks
"""
LEAK_SECONDS = 600
# What the log says then
LEAKED = "new suspected memory leaks"


def run_logs(what):
    """A folder for the logs of this run alone."""
    return settings.LOGS / time.strftime(f"{what}-%Y%m%d-%H%M%S-{os.getpid()}")


def whole_lines(text):
    """A log without the line that is still being written."""
    return text[:text.rfind("\n") + 1]


@dataclass
class Group:
    """An IOMMU group as sysfs shows it; devices: {address: driver}."""

    number: int
    type: str
    source: str = ""
    devices: dict = field(default_factory=dict)


class Machine:
    """A guest, from `with` to its end; a splat in its log is an error.

    boot: words added to the kernel's command line. devices: in place of the
    machine's own; present: devices that the guest has besides, to be spoken
    of by name; extra: QEMU options added. root_disk: the name of a disk
    that carries the root filesystem, in place of an initramfs, and make_root
    a function that makes such a disk. initrd: an initramfs that is ready, in
    place of the tests' with the programs.
    """

    def __init__(self, kernel, log, spec=None, boot=(), devices=None,
                 present=(), extra=(), root_disk=None, programs=(),
                 make_root=guest.root_disk, initrd=None):
        self.kernel = kernel
        self.log = Path(log)
        self.spec = spec or machinespec.spec()
        self.devices = self.spec.devices if devices is None else devices
        self.known = [*self.devices, *present]
        self.declared = []
        # {fault: how long the logs were then}
        self._declared_at = {}
        self._boot = list(boot)
        self._extra = list(extra)
        self._root_disk = root_disk
        self._make_root = make_root
        self._programs = programs
        self._initrd = initrd
        # QEMU's own words; it makes this file when it has any.
        self._trace_log = self.log.with_suffix(".trace.log")
        self._judged = self._trace_judged = 0
        self._process = self._folder = self.qmp = self._agent = None

    # Life

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind, value, traceback):
        try:
            if kind is None:
                self._check_leaks()
                self.poweroff()
        finally:
            self._end()
        if kind is None:
            self.check()

    def _start(self):
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_bytes(b"")
        self._trace_log.unlink(missing_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix="lab-"))
        machinespec.make_images(self.devices, self._folder)
        kernel_options = self._kernel_options()
        accel = emulator.accelerator(emulator.version(self.spec.qemu))
        qmp_ours, qmp_theirs = socket.socketpair()
        agent_ours, agent_theirs = socket.socketpair()
        with qmp_theirs, agent_theirs:
            argv = [*self.spec.qemu_options(self.devices, self._folder,
                                            self.kernel.memory, accel),
                    *self._channels(qmp_theirs, agent_theirs),
                    *kernel_options, *self._extra]
            try:
                # A process group of its own: what ends it, ends only it.
                self._process = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, start_new_session=True,
                    stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                    pass_fds=(qmp_theirs.fileno(), agent_theirs.fileno()))
            except FileNotFoundError as error:
                raise LabError(f"{argv[0]} is not installed") from error
        self._agent = Agent(agent_ours)
        try:
            self.qmp = Qmp(qmp_ours)
            self._agent.wait_until_ready(BOOT_SECONDS * self.kernel.slower)
        except LabError as error:
            raise self._error(f"the machine did not boot: {error}") from error

    def _kernel_options(self):
        words = [f"lab.agent={self.spec.agent}", *self._boot]
        options = ["-kernel", str(self.kernel.image)]
        if self._root_disk:
            disk = self.device(self._root_disk)
            self._make_root(self.kernel, self._folder / f"{disk.name}.img",
                            disk.disk_mib)
            words += guest.root_option()
        else:
            image = self._initrd or guest.initramfs(self.kernel,
                                                    self._programs)
            options += ["-initrd", str(image)]
        return [*options, "-append", self.spec.boot_line(words)]

    def _channels(self, qmp, agent):
        log = str(self.log).replace(",", ",,")
        return ["-chardev", f"file,id=console,path={log}",
                "-chardev", f"socket,id=agent,fd={agent.fileno()}",
                "-chardev", f"socket,id=qmp,fd={qmp.fileno()}",
                "-mon", "chardev=qmp,mode=control",
                *self._trace_options()]

    def _trace_options(self):
        if not self.spec.trace:
            return []
        events = [word for name in self.spec.trace
                  for word in ("-trace", f"enable={name}")]
        return ["-D", str(self._trace_log), *events]

    def leaks(self):
        """What kmemleak knows of memory to which nothing points any more.

        Nothing, without kmemleak in the kernel.
        """
        return self.run(LEAK_SCRIPT, LEAK_SECONDS)

    def forget_leaks(self, function):
        """What was leaked on purpose in calls of this function, as reports.

        LabError if it was leaked elsewhere. None of it is told of again. The
        kernel may need several looks, and without kmemleak knows of nothing.
        """
        found = []
        while leaks := self.leaks():
            fresh = leaks.split("unreferenced object")[1:]
            if not all(f" {function}+" in report for report in fresh):
                raise LabError(f"not only {function} leaked memory:\n{leaks}\n"
                               f"  full log: {self.log}")
            self.run("echo clear >/sys/kernel/debug/kmemleak")
            found += fresh
        others = [one for one in self.findings() if LEAKED not in one]
        if others:
            raise self._broken(others)
        return found

    def _check_leaks(self):
        """LabError if memory was leaked; a machine that has ended had none."""
        leaks = self._process.poll() is None and self.leaks()
        if leaks:
            raise LabError(f"memory was leaked:\n{leaks}\n"
                           f"  full log: {self.log}")

    def poweroff(self):
        """Switch the guest off the regular way and wait for its end."""
        if self._process is None or self._process.poll() is not None:
            return
        with suppress(LabError):
            self.run_status("sync; poweroff -f", timeout=END_SECONDS)
        try:
            self._process.wait(END_SECONDS * self.kernel.slower)
        except subprocess.TimeoutExpired as error:
            raise self._error("the guest does not switch off") from error

    def _end(self):
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _error(self, text):
        """An error with the lines that matter: a splat, or the log's end."""
        said = []
        # A QEMU that closed its channels is about to end and say why.
        with suppress(subprocess.TimeoutExpired, AttributeError):
            self._process.wait(1)
        if self._process and self._process.poll() is not None:
            said.append(self._process.stderr.read().decode(errors="replace"))
        said += splats.findings(self.serial(), self.declared)[:1]
        said.append(tail(self.log))
        return LabError("\n".join([text, *filter(None, said),
                                   f"  full log: {self.log}"]))

    # Commands

    def run_status(self, script, timeout=COMMAND_SECONDS):
        """(status, output) of a shell script in the guest."""
        try:
            return self._agent.run(script, timeout * self.kernel.slower)
        except LabError as error:
            raise self._error(f"in the guest, {script!r}: {error}") from error

    def run(self, script, timeout=COMMAND_SECONDS):
        """The output of a script that must succeed."""
        status, output = self.run_status(script, timeout)
        if status:
            raise LabError(f"in the guest, {script!r} ended with status "
                           f"{status}:\n{output}  full log: {self.log}")
        return output.rstrip("\n")

    def crash(self, script):
        """Run a script that ends in a panic; wait for the crash kernel."""
        self._agent.send(script, COMMAND_SECONDS * self.kernel.slower)
        try:
            self._agent.wait_until_ready(BOOT_SECONDS * self.kernel.slower)
        except LabError as error:
            raise self._error(f"no crash kernel came up: {error}") from error

    # Hot-plug

    def plug(self, *devices):
        """Plug a card in; its functions in the order in which they are given.

        A PCI Express port looks at a card when its function 0 appears.
        """
        for device in devices:
            self.known.append(device)
            self.qmp.command("device_add", driver=device.model,
                             **device.arguments())
        self._serve_slot(devices[0], SLOT_ON)
        for device in devices:
            self.wait_for_device(device.name)

    def _serve_slot(self, card, script):
        """Do by hand what a slot needs when nothing else in the guest does."""
        if self.spec.slots_by_hand:
            port = self.device(card.bus).full_address
            self.run(f"port={port}{SLOT_SCRIPT}{script}")

    def wait_for_device(self, name):
        """Wait until a device and the others of its slot are all there.

        This file of a device comes when its whole slot has been added.
        """
        address = self.device(name).full_address
        self.run("for i in $(seq 300); do "
                 f"[ -e /sys/bus/pci/devices/{address}/resource0 ] && exit; "
                 "sleep 0.2; done; exit 1")

    def unplug(self, name, *others):
        """Unplug a card, of which name and others are all functions."""
        self.qmp.command("device_del", id=name)
        self._serve_slot(self.device(name), SLOT_OFF)
        for each in (name, *others):
            self.qmp.wait_for("DEVICE_DELETED", device=each)
            self.known.remove(self.device(each))
        self.qmp.events.clear()

    # What there is

    def device(self, name):
        """The machine's device called name."""
        for device in self.known:
            if device.name == name:
                return device
        raise LabError(f"this machine has no device {name}")

    def disk(self, name):
        """The guest's node of a disk; nvme0 and nvme1 may change places."""
        address = self.device(name).full_address
        node = self.run(f"cd /sys/bus/pci/devices/{address}/ && "
                        "ls -d nvme/nvme*/nvme*n1 virtio*/block/* 2>&- | "
                        "grep .")
        return "/dev/" + node.split("/")[-1]

    def groups(self):
        """All IOMMU groups, by number."""
        found = []
        for line in self.run(GROUPS_SCRIPT).splitlines():
            kind, first, *rest = line.split()
            if kind == "group":
                found.append(Group(int(first), *rest))
            else:
                found[-1].devices[first] = rest[0] if rest else ""
        return sorted(found, key=lambda group: group.number)

    def group_of(self, name):
        """The group of one device of the machine."""
        address = self.device(name).full_address
        for group in self.groups():
            if address in group.devices:
                return group
        raise LabError(f"{name} ({address}) is in no IOMMU group")

    # The log

    def serial(self):
        """Everything on the kernel's console so far."""
        return self.log.read_text(errors="replace").replace("\r", "")

    def trace(self):
        """What QEMU's own events say of faults so far."""
        return self._trace_log.read_text(errors="replace") \
            if self._trace_log.is_file() else ""

    def wait_for(self, pattern, timeout=COMMAND_SECONDS):
        """Wait until a line of the log matches; that line."""
        deadline = time.monotonic() + timeout * self.kernel.slower
        while True:
            for line in self.serial().splitlines():
                if re.search(pattern, line):
                    return line
            if time.monotonic() > deadline:
                raise self._error(f"the log has no line like {pattern!r}")
            time.sleep(0.2)

    def _whole_logs(self):
        """The kernel's log and QEMU's trace, without unfinished lines."""
        return [whole_lines(text) for text in (self.serial(), self.trace())]

    def logs_so_far(self):
        """How long the logs are, for expect_fault()."""
        return [len(text) for text in self._whole_logs()]

    def expect_fault(self, name, address, since=None):
        """Declare that a device's access to an address will be blocked.

        Or was, since logs_so_far() was asked.
        """
        fault = self._fault(name, address)
        self.declared.append(fault)
        self._declared_at[fault] = since or self.logs_so_far()

    def _fault(self, name, address):
        return splats.Fault(self.device(name).address,
                            address & splats.PAGE)

    def wait_for_fault(self, name, address, timeout=COMMAND_SECONDS):
        """Wait for the report of a device's access; its lines.

        One from before the access was declared is of another.
        """
        wanted = self._fault(name, address)
        starts = self._declared_at.get(wanted, (0, 0))
        deadline = time.monotonic() + timeout * self.kernel.slower
        while True:
            fresh = [text[start:] for text, start
                     in zip((self.serial(), self.trace()), starts)]
            for fault, lines in splats.faults("".join(fresh)):
                if fault == wanted:
                    return lines
            if time.monotonic() > deadline:
                raise self._error(f"the log has no fault of {wanted}")
            time.sleep(0.2)

    def expect_panic(self, message):
        """Declare that the kernel will panic, with this message."""
        self.declared.append(splats.Panic(message))

    def findings(self):
        """What broke the splat rule since this was last asked."""
        log, trace = self._whole_logs()
        if self._process and self._process.poll() is None:
            log = splats.without_open_report(log)
        fresh = log[self._judged:] + trace[self._trace_judged:]
        self._judged, self._trace_judged = len(log), len(trace)
        return splats.findings(fresh, self.declared)

    def check(self):
        """LabError if the splat rule was broken since last asked."""
        found = self.findings()
        if found:
            raise self._broken(found)

    def _broken(self, found):
        return LabError("the kernel log breaks the splat rule:\n"
                        + "\n".join(found) + f"\n  full log: {self.log}")
