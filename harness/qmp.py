# SPDX-License-Identifier: GPL-2.0
"""QEMU's machine protocol over a connected socket."""

import json

from .say import LabError


class Qmp:
    """Sends commands to one QEMU and hands back its answers."""

    def __init__(self, sock, timeout=60):
        sock.settimeout(timeout)
        self._file = sock.makefile("rw", encoding="utf-8", newline="\n")
        self.events = []
        self._receive()
        self.command("qmp_capabilities")

    def command(self, name, **arguments):
        """Execute a command; what it returns. LabError if QEMU refuses."""
        self._file.write(json.dumps({"execute": name,
                                     "arguments": arguments}) + "\n")
        self._file.flush()
        while True:
            answer = self._receive()
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise LabError(f"QEMU refuses {name}: "
                               f"{answer['error']['desc']}")
            else:
                return answer["return"]

    def wait_for(self, event, **data):
        """Wait for an event with the given data, unless it has come."""
        while not any(each["event"] == event
                      and data.items() <= each["data"].items()
                      for each in self.events):
            self.events.append(self._receive())

    def _receive(self):
        try:
            line = self._file.readline()
        except OSError as error:
            raise LabError(f"QEMU does not answer: {error}") from error
        if not line:
            raise LabError("QEMU has ended")
        return json.loads(line)
