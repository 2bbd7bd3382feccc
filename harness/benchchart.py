# SPDX-License-Identifier: GPL-2.0
"""The chart of how costs grow with the number of functions on a bus."""

import io
import re

from . import packages, settings

CHART = settings.REFERENCE / "bench.svg"
LICENSE = "\n<!-- SPDX-License-Identifier: GPL-2.0 -->\n"
# (heading, unit, its size, what is below, figures with the number in front)
ROWS = (
    ("group probe, all steps", "million instructions", 1e6,
     "functions on the bus",
     re.compile(r"(\w+)/probe/(\d+) functions, all steps")),
    ("hot-add of one function", "thousand instructions", 1e3,
     "functions that were added", re.compile(r"(\w+)/hot-add/(\d+)[a-z]+")),
)
COLOURS = {"stock": "#c44e52", "patched": "#4c72b0", "peer": "#8c8c8c"}


def curves(figures, pattern):
    """{machine: {kernel: [(number, value)]}} of figures that grow."""
    found = {}
    for name, one in figures.items():
        matched = pattern.fullmatch(name)
        for who in COLOURS if matched else ():
            if who in one:
                found.setdefault(matched[1], {}).setdefault(who, []).append(
                    (int(matched[2]), one[who]))
    return {machine: {who: sorted(points) for who, points in each.items()}
            for machine, each in found.items()}


def draw(results):
    """Write the chart, the same for the same results; whether there is one.

    Without figures that grow an older one stays; it says what it is of.
    """
    rows = [(*row[:4], curves(results["figures"], row[4])) for row in ROWS]
    machines = list(dict.fromkeys(machine for row in rows
                                  for machine in row[4]))
    if not machines:
        return False
    packages.need("chart")
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "lab", "font.size": 9,
                                "svg.fonttype": "none"})
    from matplotlib import pyplot
    picture, axes = pyplot.subplots(
        len(rows), len(machines), squeeze=False, sharey="row",
        figsize=(1 + 2.4 * len(machines), 5))
    for line, (heading, unit, size, below, found) in zip(axes, rows):
        for panel, machine in zip(line, machines):
            for who, points in found.get(machine, {}).items():
                panel.plot([number for number, _ in points],
                           [value / size for _, value in points],
                           marker=".", color=COLOURS[who], label=who)
            panel.set_title(f"{machine}: {heading}", fontsize=8)
            panel.set_xlabel(below, fontsize=8)
            panel.set_xlim(left=0)
            panel.spines[["top", "right"]].set_visible(False)
        # All panels of a row have one scale.
        line[0].set_ylim(bottom=0)
        line[0].set_ylabel(unit, fontsize=8)
    axes[0][0].legend(frameon=False)
    picture.tight_layout(rect=(0, 0.03, 1, 1))
    picture.text(0.01, 0.01, f"base {results['base']}, "
                 f"series {results['series']}", fontsize=7)
    text = io.StringIO()
    picture.savefig(text, format="svg",
                    metadata={"Date": None, "Creator": None})
    pyplot.close(picture)
    CHART.write_text(text.getvalue().replace("\n", LICENSE, 1),
                     encoding="utf-8")
    return True
