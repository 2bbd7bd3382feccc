# SPDX-License-Identifier: GPL-2.0
"""./lab: the subcommands and their options."""

import argparse
import importlib
import signal
import sys

from . import machinespec
from .say import LabError, say

COMMANDS = {
    "demo": "build, boot and show what the series does, on a screen",
    "test": "run every test; --all adds the long ones, -k selects",
    "bench": "compare the kernels' costs, in instructions; -k selects",
    "tree": "make build/linux-6.12: base, new files, patches as commits",
    "export": "write the tree's commits to patches/; --check compares",
    "apply": "put the series on a kernel tree of yours",
    "dist": "write the series as mails, with a cover letter",
    "build": "build the x86-64 test kernel",
    "shell": "boot the kernel and give you a shell in it",
}

EXAMPLES = """\
examples:
  ./lab demo                 from nothing to a disk that bypasses the IOMMU
  ./lab test -k export       the tests whose name contains "export"
  ./lab apply ~/linux-6.12   your own kernel tree, ready to be built"""


def parser():
    """The parser of the whole command line."""
    lines = [f"  {name:8}{text}" for name, text in COMMANDS.items()]
    top = argparse.ArgumentParser(
        prog="./lab", usage="./lab COMMAND [OPTIONS]", add_help=True,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="\n".join(["commands:", *lines, "", EXAMPLES]))
    commands = top.add_subparsers(dest="command", metavar="",
                                  help=argparse.SUPPRESS)
    sub = {name: commands.add_parser(name, description=text,
                                     prog=f"./lab {name}")
           for name, text in COMMANDS.items() if name != "shell"}
    sub["test"].add_argument("--all", action="store_true",
                             help="add the long tests: each "
                             "patch's build, other architectures and "
                             "configurations, KASAN, a second 6.12.y")
    sub["test"].add_argument("-k", metavar="EXPR", dest="expression",
                             help="only tests whose name matches")
    for name in ("demo", "test"):
        sub[name].add_argument("--machine", metavar="NAME",
                               help="on this machine; there are: "
                               + ", ".join(machinespec.names()))
    sub["bench"].add_argument("-k", metavar="WORD", dest="word",
                              help="only parts whose name contains it, such "
                              "as vtd/changes, vtd or hot-add")
    sub["bench"].add_argument("--peer", metavar="DIR",
                              help="a third kernel to compare with, a git "
                              "checkout")
    sub["export"].add_argument("--check", action="store_true",
                               help="only say whether the two agree")
    sub["apply"].add_argument("dir", metavar="DIR", help="a 6.12.y tree")
    sub["dist"].add_argument("--signoff", action="store_true",
                             help="add your Signed-off-by")
    sub["dist"].add_argument("outdir", nargs="?", metavar="OUTDIR",
                             help="default: build/dist")
    return top


def dispatch(argv):
    """Run one subcommand; its exit status."""
    if argv[0] not in COMMANDS and not argv[0].startswith("-"):
        raise LabError(f"there is no command {argv[0]}; there are: "
                       + ", ".join(COMMANDS))
    # What follows "shell" belongs to QEMU and the kernel.
    if argv[0] == "shell":
        return _module("shell").run(argv[1:])
    args = parser().parse_args(argv)
    name = args.command
    if name == "test":
        return _module("testrun").run(everything=args.all,
                                      expression=args.expression,
                                      machine=args.machine)
    if name == "demo":
        return _module("demo").run(args.machine or machinespec.DEFAULT)
    if name == "bench":
        return _module("bench").run(args.word, args.peer)
    if name == "export":
        export = _module("export")
        return export.check() if args.check else export.run()
    if name == "apply":
        return _module("series").apply(args.dir)
    if name == "dist":
        return _module("series").dist(args.outdir, signoff=args.signoff)
    if name == "build":
        return _module("kernel").show()
    if name == "tree":
        return _module("tree").show()
    return _module(name).run()


def _module(name):
    return importlib.import_module(f"{__package__}.{name}")


def main(argv):
    """The whole command; its exit status."""
    if not argv:
        parser().print_help()
        return 0
    # Ended from outside, it cleans up as after Ctrl-C.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        return dispatch(argv) or 0
    except LabError as error:
        sys.stdout.flush()
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say()
        print("lab: interrupted", file=sys.stderr)
        return 130
