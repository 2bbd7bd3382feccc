# SPDX-License-Identifier: GPL-2.0
"""How many tests of a suite passed, failed and were skipped."""

from dataclasses import dataclass


@dataclass
class Counts:
    """The result of one suite, or of several added together."""

    suite: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def add(self, other):
        """Add the numbers of another suite to these."""
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    @property
    def total(self):
        """Every test that was counted, run or not."""
        return self.passed + self.failed + self.skipped

    def closing(self):
        """The line that a test run ends with."""
        line = f"{self.passed} passed, {self.failed} failed"
        if self.skipped:
            line += f", {self.skipped} skipped"
        return line
