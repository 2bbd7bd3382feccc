# SPDX-License-Identifier: GPL-2.0
"""The host's end of the channel on which the guest runs commands.

A request is one line, a number and the shell script in base64. The answer is
the script's output in base64 lines, then `end <number> <status>`. The guest's
end is guest/agent.
"""

import base64
import time

from .say import LabError


class Agent:
    """Runs shell scripts in a guest."""

    def __init__(self, sock):
        self._sock = sock
        self._rest = b""
        self._number = 0

    def wait_until_ready(self, timeout):
        """Wait for the guest's first line."""
        deadline = time.monotonic() + timeout
        while self._line(deadline) != "ready":
            pass

    def send(self, script, timeout):
        """Start a script whose end nobody will hear of."""
        self._number += 1
        code = base64.b64encode(script.encode()).decode()
        self._sock.settimeout(timeout)
        self._sock.sendall(f"{self._number} {code}\n".encode())

    def run(self, script, timeout):
        """(status, output) of a script, its errors among the output."""
        self.send(script, timeout)
        deadline = time.monotonic() + timeout
        output = []
        while True:
            line = self._line(deadline)
            if line.startswith("end "):
                number, status = map(int, line.split()[1:])
                if number == self._number:
                    text = base64.b64decode("".join(output))
                    return status, text.decode(errors="replace")
                output = []
            else:
                output.append(line)

    def _line(self, deadline):
        while b"\n" not in self._rest:
            left = deadline - time.monotonic()
            if left <= 0:
                raise LabError("the guest does not answer in time")
            self._sock.settimeout(left)
            try:
                data = self._sock.recv(65536)
            except TimeoutError as error:
                raise LabError("the guest does not answer in time") from error
            if not data:
                raise LabError("the machine has ended")
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        return line.decode().strip()
