# SPDX-License-Identifier: GPL-2.0
"""What ./lab test --all has seen: a committed record that can go stale.

The long checks are too long for every run. Each one that passes is noted
with the state of the series that it saw, or of the part that it depends on;
a default run fails for every one that has not seen it as it is now.
"""

import hashlib
import json

from . import base as bases
from . import hold, settings, tree
from .say import say

RECORD = settings.REFERENCE / "all.json"
# Long checks that belong to other suites than the static checks.
KASAN = "KUnit under KASAN"
GROUPS = "groups of the stock kernel"
IOMMUFD = "iommufd selftests of the stock kernel"
CODE_ENDS = (".c", ".h", ".S")
CODE_NAMES = ("Makefile", "Kconfig", ".kunitconfig")


def on_machine(machine):
    """The name of the check that the tests of a machine pass."""
    return f"machine tests: {machine}"


def under_kasan(machine):
    """The name of the check that the tests of a machine pass under KASAN."""
    return f"machine tests under KASAN: {machine}"


def state(programs=False):
    """One value for the patches and for all new files of the kernel.

    With programs, also for those of user space, which only machines run. What
    the harness asks of a machine is in neither.
    """
    total = hashlib.sha256(tree.digest(tree.patches()).encode())
    for name in settings.new_files():
        path = settings.ROOT / name
        if name.startswith("tools/") and not programs:
            continue
        if name.endswith(CODE_ENDS) or path.name in CODE_NAMES:
            total.update(name.encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def recorded():
    """{check: {"state": ..., "base": ...}} as committed."""
    return json.loads(RECORD.read_text()) if RECORD.is_file() else {}


def note(name, seen=None):
    """Remember that a long check passed for the series, or a part, as it is.

    The state of a part is the check's own; without one it is the series'.
    """
    with hold.lock("longresults"):
        _write({**recorded(), name: {"state": seen or state(),
                                     "base": bases.base().version}})


def _write(known):
    part = RECORD.with_name(RECORD.name + ".part")
    part.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    part.rename(RECORD)


def has_passed(part):
    """Whether some check has passed with this state of a part."""
    return any(each["state"] == part for each in recorded().values())


def stale(states):
    """One line for each {check: state} that has not passed in that state."""
    now = state()
    known = recorded()
    return [f"{name}: has not passed with this series; ./lab test --all"
            for name, part in states.items()
            if known.get(name, {}).get("state") != (part or now)]


def forget_others(names):
    """Drop what no check is called any more, such as a patch that is gone."""
    with hold.lock("longresults"):
        known = recorded()
        gone = [name for name in known if name not in names]
        if gone:
            _write({name: known[name] for name in known if name in names})
            say(f"{RECORD.name}: dropped {', '.join(gone)}")
