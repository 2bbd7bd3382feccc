# SPDX-License-Identifier: GPL-2.0
"""What compilers and sparse print, made comparable between two trees."""

import re

WARNING = re.compile(r"^(?:\.\./)*([\w./+-]+):\d+(?::\d+)?: "
                     r"((?:warning|error|fatal error): .*)$")


def normalised(lines, folder):
    """Warnings without line numbers, sorted, each once."""
    found = set()
    for line in lines:
        match = WARNING.match(line.replace(f"{folder}/", ""))
        if match:
            # A static function may be named with its line; drop numbers.
            text = re.sub(r"\bline \d+", "line N", match.group(2))
            found.add(f"{match.group(1)}: {text}")
    return sorted(found)
