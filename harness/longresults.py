# SPDX-License-Identifier: GPL-2.0
"""What ./lab test --all has seen: a committed record that can go stale.

The long checks are too long for every run. Each one that passes is noted
with the state of the series that it saw; a default run fails for every one
that has not seen the series as it is now.
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


def state():
    """One value for the patches and for all new files that are built."""
    total = hashlib.sha256(tree.digest(tree.patches()).encode())
    for name in settings.new_files():
        path = settings.ROOT / name
        if name.endswith(CODE_ENDS) or path.name in CODE_NAMES:
            total.update(name.encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def recorded():
    """{check: {"state": ..., "base": ...}} as committed."""
    return json.loads(RECORD.read_text()) if RECORD.is_file() else {}


def note(name):
    """Remember that a long check passed for the series as it is."""
    with hold.lock("longresults"):
        _write({**recorded(), name: {"state": state(),
                                     "base": bases.base().version}})


def _write(known):
    part = RECORD.with_name(RECORD.name + ".part")
    part.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    part.rename(RECORD)


def stale(names):
    """One line for each long check that has not seen this series."""
    now = state()
    known = recorded()
    return [f"{name}: has not passed with this series; ./lab test --all"
            for name in names
            if known.get(name, {}).get("state") != now]


def forget_others(names):
    """Drop what no check is called any more, such as a patch that is gone."""
    with hold.lock("longresults"):
        known = recorded()
        gone = [name for name in known if name not in names]
        if gone:
            _write({name: known[name] for name in known if name in names})
            say(f"{RECORD.name}: dropped {', '.join(gone)}")
