# SPDX-License-Identifier: GPL-2.0
"""The figures of ./lab bench: kept in a file, compared, shown as a table."""

import json
import re
import statistics
from dataclasses import dataclass

from . import settings

RESULTS = settings.REFERENCE / "bench.json"
# Repeats that differ by more are not to be trusted.
SPREAD = 0.01
# What is slower or larger than stock by no more is as good as stock.
AS_GOOD = 1.01
KERNELS = ("stock", "patched", "peer")
# A result is of all this; figures of another are not kept beside it.
IDENTITY = ("base", "qemu", "compiler", "config", "programs", "series")


# One figure

def spread(values):
    """How far repeats are apart, as a part of their median."""
    middle = statistics.median(values)
    distance = max(values) - min(values)
    return distance / abs(middle) if middle else float(distance > 0)


def ratio(one, other):
    """One by other, or None when there is no such thing."""
    return None if one is None or not other else one / other


def figure(unit, repeats):
    """What is kept of {kernel: [values of the repeats]}."""
    middle = {who: statistics.median(repeats[who]) for who in repeats}
    found = {"unit": unit, **{who: round(middle[who], 1) for who in middle}}
    by_stock = ratio(middle.get("patched"), middle.get("stock"))
    if by_stock is not None:
        found["ratio"] = round(by_stock, 4)
    found["spread"] = {who: round(spread(repeats[who]), 5)
                       for who in repeats}
    found["repeats"] = {who: [round(value, 1) for value in repeats[who]]
                        for who in repeats}
    return found


def exact_ratio(one):
    """What a target is compared with, which is not rounded as the ratio is."""
    return ratio(one.get("patched"), one.get("stock"))


def marked(one):
    """Whether the repeats of a figure differ too much."""
    return max(one["spread"].values(), default=0) > SPREAD


def is_sure(value, limit, made_of):
    """Whether other repeats would be on the same side of a limit.

    A peer has no part in what is compared.
    """
    if value is None:
        return True
    apart = [max((one["spread"].get(who, 0) for who in KERNELS[:2]))
             for one in made_of]
    return max(apart) <= SPREAD and (
        not any(apart) or abs(value - limit) >= sum(apart) * value)


# The file

def known():
    """The results as they are kept, or nothing."""
    return json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}


def merged(old, new):
    """New results, and the old figures that they have not measured again.

    Not if those are of another series, base, QEMU or configuration; and what
    was measured of another peer is dropped.
    """
    if any(old.get(key) != new.get(key) for key in IDENTITY):
        return new
    kept = dict(old["figures"])
    peer = new.get("peer") or old.get("peer")
    if peer != old.get("peer"):
        kept = {name: without_peer(one) for name, one in kept.items()}
    return {**old, **new, **({"peer": peer} if peer else {}),
            "figures": {**kept, **new["figures"]}}


def without_peer(one):
    """A figure without what was measured of the peer."""
    return {key: {who: each for who, each in value.items() if who != "peer"}
            if isinstance(value, dict) else value
            for key, value in one.items() if key != "peer"}


def keep(results):
    """Write the results."""
    part = RESULTS.with_name(RESULTS.name + ".part")
    part.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n",
                    encoding="utf-8")
    part.rename(RESULTS)


# The table

def number(value):
    """A value for people, as wide as it has to be."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.1f}"


def percent(value):
    """A spread for people."""
    return "-" if value is None else f"{100 * value:.2f} %"


def table(figures):
    """Lines that show figures, those of a part below its name."""
    columns = [who for who in KERNELS
               if any(who in one for one in figures.values())]
    heads = {name: "/".join(name.split("/")[:2]) + f", {one['unit']}"
             for name, one in figures.items()}
    width = max((max(len(name.split("/", 2)[2]), len(head))
                 for name, head in heads.items()), default=0) + 4
    lines, above = [], None
    for name, one in figures.items():
        what = name.split("/", 2)[2]
        if heads[name] != above:
            above = heads[name]
            lines += ["", above.ljust(width)
                      + "".join(f"{who:>15}" for who in columns)
                      + f"{'ratio':>8}"
                      + "".join(f"{'spread':>9}" for _ in columns)]
        by_stock = one.get("ratio")
        lines.append(
            f"  {what}".ljust(width)
            + "".join(f"{number(one.get(who)):>15}" for who in columns)
            + (f"{by_stock:8.3f}" if by_stock is not None else f"{'-':>8}")
            + "".join(f"{percent(one['spread'].get(who)):>9}"
                      for who in columns)
            + ("  repeats differ" if marked(one) else ""))
    return lines


# The targets

@dataclass(frozen=True)
class Target:
    """A limit for every figure that a pattern matches.

    It is one for the ratio to the stock kernel, or, with against, to another
    figure of the patched kernel.
    """

    what: str
    pattern: str
    limit: float
    against: str = None

    def figures(self, names):
        """Those of the names that it is about."""
        return [name for name in names if re.fullmatch(self.pattern, name)]

    def value(self, name, figures):
        """What is compared with the limit, and the figures it is made of."""
        one = figures[name]
        if not self.against:
            return exact_ratio(one), [one]
        other = figures.get(re.sub(self.pattern, self.against, name))
        if not other:
            return None, [one]
        return ratio(one.get("patched"), other.get("patched")), [one, other]


TARGETS = (
    Target("a change to identity",
           r"vtd/changes(-4-cpus)?/(DMA|DMA-FQ) to identity(, used)?",
           0.25),
    Target("a change to DMA",
           r"vtd/changes(-4-cpus)?/(identity|DMA-FQ) to DMA", 0.30),
    Target("a change from DMA to DMA-FQ",
           r"vtd/changes(-4-cpus)?/DMA to DMA-FQ(, first)?", 0.25),
    Target("memory of a DMA domain", r"vtd/memory.*/identity to DMA, all",
           0.999),
    Target("a paging domain's life", r"vtd/domain/.*, all", 0.8),
    Target("group probe",
           r"vtd/probe/213 functions, (initcall|all steps)", 0.13),
    Target("identity at boot against the IOMMU off",
           r"vtd/map/(.*), identity at boot", 1.02,
           r"vtd/map/\1, IOMMU off"),
    Target("hot-add of the 64th against the 2nd",
           r"(\w+)/hot-add/64th", 1.2, r"\1/hot-add/2nd"),
)


# Where a domain's memory comes from may change; what counts is how much.
ONLY_A_PART = re.compile(r"\w+/memory.*, (slab objects|.* pages)")


def judged(figures):
    """[(what, figure, value, limit, good, sure)] of targets and the rest.

    good is None where nothing was measured. The rest is whatever is slower
    or larger than stock, or may be.
    """
    rows, seen = [], set()
    for target in TARGETS:
        names = target.figures(figures)
        if not target.against:
            seen.update(names)
        for name in names:
            value, made_of = target.value(name, figures)
            good = None if value is None else value <= target.limit
            rows.append((target.what, name, value, target.limit, good,
                         is_sure(value, target.limit, made_of)))
        if not names:
            rows.append((target.what, "", None, target.limit, None, True))
    for name, one in figures.items():
        value = exact_ratio(one)
        if value is None and one.get("patched") and one.get("stock") == 0:
            value = float("inf")
        if value is None or name in seen or ONLY_A_PART.fullmatch(name):
            continue
        sure = is_sure(value, AS_GOOD, [one])
        if value > AS_GOOD or not sure:
            rows.append(("nothing else slower or larger", name, value,
                         AS_GOOD, value <= AS_GOOD, sure))
    return rows


def verdicts(figures):
    """Lines that show what was reached."""
    lines = []
    for what, name, value, limit, good, sure in judged(figures):
        word = {None: "not measured", True: "reached",
                False: "not reached"}[good]
        shown = "" if value is None else f"{value:.3f}"
        lines.append(f"{word:13}{shown:>7} of {limit:<6}{what}"
                     + (f": {name}" if name else "")
                     + ("" if sure else " (not sure, repeats differ)"))
    return lines
