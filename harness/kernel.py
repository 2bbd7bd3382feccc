# SPDX-License-Identifier: GPL-2.0
"""A kernel: configured from fragments, built, and known when unchanged."""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from . import base as bases
from . import export, hold, packages, settings
from . import tree as trees
from .git import git, git_bytes
from .say import LabError, Progress, log_path, run_logged, say

FRAGMENTS = settings.HARNESS / "kconfig"
# How many objects a build has, about; a finished build puts the real number
# into build/, which is then used instead.
ESTIMATES = FRAGMENTS / "objects.json"
COUNTED = settings.BUILD / "objects.json"
OBJECT = re.compile(r"^  (?:CC|AS)(?: \[M\])? +\S+\.o$")

IMAGES = {"x86_64": "arch/x86/boot/bzImage", "arm64": "arch/arm64/boot/Image"}
# The kernel's own name for it; x86 is 32 or 64 bits as configured.
MAKE_ARCH = {"x86_64": "x86", "arm64": "arm64", "arm": "arm",
             "powerpc": "powerpc"}
CROSS = {"x86_64": "", "arm64": "aarch64-linux-gnu-",
         "arm": "arm-linux-gnueabihf-",
         "powerpc": "powerpc64-linux-gnu-"}

# A configuration that is another one with something added
ON_TOP_OF = {"kasan": "test"}
# What a machine must have for it, in MiB, and how much slower it is than the
# test kernel; without an entry, as the test kernel
MEMORY_MIB, TEST_MEMORY_MIB = {"kasan": 1024}, 512
SLOWER = {"kasan": 4}

# Nothing of the machine or the hour may get into a kernel: the same source
# gives the same image, and ccache finds what another clone has compiled.
FIXED = {"KBUILD_BUILD_TIMESTAMP": "2024-11-17", "KBUILD_BUILD_USER": "lab",
         "KBUILD_BUILD_HOST": "localhost", "KBUILD_BUILD_VERSION": "1",
         "LOCALVERSION": "", "LC_ALL": "C.UTF-8",
         "PYTHONDONTWRITEBYTECODE": "1"}
# What a person has exported for builds of their own must not change ours.
FOREIGN = ("ARCH", "CROSS_COMPILE", "CC", "LLVM", "KCFLAGS", "KCPPFLAGS",
           "KBUILD_OUTPUT", "O", "MAKEFLAGS", "W", "C", "V", "M")


@dataclass(frozen=True)
class Kernel:
    """A built kernel and where it came from."""

    image: Path
    config: str
    arch: str
    release: str
    tree: Path
    build: Path

    @property
    def memory(self):
        """How much memory a machine has with it, in MiB."""
        return MEMORY_MIB.get(self.config, TEST_MEMORY_MIB)

    @property
    def slower(self):
        """What the seconds are multiplied by after which it hangs."""
        return SLOWER.get(self.config, 1)


def clean_environment():
    """The start of a command: env, with nothing foreign in it."""
    unset = [word for name in FOREIGN for word in ("-u", name)]
    return ["env", *unset, *[f"{name}={value}"
                             for name, value in FIXED.items()]]


def variables(arch="x86_64"):
    """What every make of a kernel is told."""
    return [f"ARCH={MAKE_ARCH[arch]}", f"CROSS_COMPILE={CROSS[arch]}",
            f"CC=ccache {CROSS[arch]}gcc"]


def make_command(folder, out, arch="x86_64"):
    """The start of every make of a kernel."""
    return [*clean_environment(), "nice", "make", "-C", folder, f"O={out}",
            f"-j{settings.jobs()}", *variables(arch)]


# The configuration

def fragments(config, arch):
    """The fragments that make up a configuration."""
    layers = [*filter(None, [ON_TOP_OF.get(config)]), config]
    names = ["base", arch, *[name for layer in layers
                             for name in (layer, f"{arch}-{layer}")]]
    found = [FRAGMENTS / f"{name}.config" for name in names]
    if not any(path.is_file() for path in found[-2:]):
        raise LabError(f"there is no kernel configuration {config}: "
                       f"{found[-2]} is missing")
    return [path for path in found if path.is_file()]


def requested(paths):
    """{symbol: value} that fragments ask for; a later one wins."""
    wanted = {}
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            off = re.fullmatch(r"# (CONFIG_\w+) is not set", line)
            if off:
                wanted[off.group(1)] = "n"
            elif line.startswith("CONFIG_"):
                name, _, value = line.partition("=")
                wanted[name] = value.strip()
    return wanted


def missed(wanted, dotconfig):
    """One line for every requested symbol that is not set as asked."""
    have = requested([dotconfig])
    return [f"{name} is {have.get(name, 'n')}, {value} was asked for"
            for name, value in sorted(wanted.items())
            if have.get(name, "n") != value]


def _config_state(folder, out, paths):
    """One value for a .config and all that it was made from."""
    total = hashlib.sha256()
    for path in (*paths, out / ".config"):
        total.update(path.name.encode())
        total.update(path.read_bytes() if path.is_file() else b"none")
    total.update(git_bytes(folder, "ls-files", "-s", "--", "*Kconfig*"))
    for name in git(folder, "ls-files", "--modified", "--",
                    "*Kconfig*").split("\n"):
        if (folder / name).is_file():
            total.update((folder / name).read_bytes())
    return total.hexdigest()


def configure(folder, out, paths, arch="x86_64", strict=True):
    """Write out/.config from fragments and check it, unless it is so."""
    stamp = out / ".lab-config"
    if stamp.is_file() \
            and stamp.read_text() == _config_state(folder, out, paths):
        return
    _configure(folder, out, paths, arch, strict)
    stamp.write_text(_config_state(folder, out, paths))


def _configure(folder, out, paths, arch, strict):
    out.mkdir(exist_ok=True)
    log = log_path(f"kernel/{out.name}-config")
    dotconfig = out / ".config"
    before = (dotconfig.read_bytes(), dotconfig.stat()) \
        if dotconfig.is_file() else None
    with Progress(f"configuration {out.name.removeprefix('out-')}"):
        # Nothing but what the fragments ask for, and the defaults of what
        # that makes visible. merge_config.sh calls make, which takes the
        # variables from the environment.
        run_logged([*make_command(folder, out, arch), "allnoconfig"], log,
                   "make allnoconfig")
        run_logged([*clean_environment(), *variables(arch),
                    "scripts/kconfig/merge_config.sh", "-O", out, dotconfig,
                    *paths], log, "merging the fragments", cwd=folder)
    wrong = missed(requested(paths), dotconfig)
    if wrong and strict:
        dotconfig.unlink()
        raise LabError("the configuration is not what the fragments ask "
                       "for:\n    " + "\n    ".join(wrong))
    for line in wrong:
        say(f"{folder.name}: {line}")
    # An equal .config keeps its time, or make would look at everything.
    if before and before[0] == dotconfig.read_bytes():
        os.utime(dotconfig, ns=(before[1].st_atime_ns,
                                before[1].st_mtime_ns))


# What has been built already

def state_of(folder, paths):
    """One value for everything that a kernel is built from."""
    total = hashlib.sha256(git_bytes(folder, "rev-parse", "HEAD"))
    for name in export.uncommitted(folder):
        total.update(name.encode() + b"\0")
        path = folder / name
        if path.is_file():
            total.update(path.read_bytes())
    for path in paths:
        total.update(path.name.encode() + path.read_bytes())
    total.update(git(folder, "--version").encode() + repr(FIXED).encode())
    return total.hexdigest()


def _release(out):
    return (out / "include/config/kernel.release").read_text().strip()


def objects_to_do(name):
    """How many objects a whole build has, as well as we know."""
    for path in (COUNTED, ESTIMATES):
        if path.is_file():
            number = json.loads(path.read_text()).get(name)
            if number:
                return number
    return None


def _remember(name, number):
    known = json.loads(COUNTED.read_text()) if COUNTED.is_file() else {}
    known[name] = number
    part = COUNTED.with_name(COUNTED.name + ".part")
    part.write_text(json.dumps(known))
    part.rename(COUNTED)


def make_counted(argv, log, what, total=None):
    """Run make and show the objects done, of about total; their number."""
    done = 0
    with Progress(f"{what}, objects", total, about=True) as progress:
        def count(line):
            nonlocal done
            if OBJECT.match(line):
                done += 1
                if progress.total and done > progress.total:
                    progress.total = done
                progress.update(done, note=line.split()[-1])
        run_logged(argv, log, what, on_line=count)
        progress.done = progress.total = done
    return done


def _objects_left(out, name):
    """About how many objects a first build still has to make."""
    total = objects_to_do(name)
    there = sum(1 for _ in out.rglob("*.o"))
    return total - there if total and total > there else None


def _build(folder, out, config, arch, paths, strict):
    log = log_path(f"kernel/{folder.name}-{out.name}")
    log.unlink(missing_ok=True)
    name = f"{config}-{arch}"
    from_nothing = not (out / ".config").is_file()
    first = not (out / IMAGES[arch]).is_file()
    configure(folder, out, paths, arch, strict)
    targets = [Path(IMAGES[arch]).name, "modules"]
    done = make_counted([*make_command(folder, out, arch), *targets], log,
                        f"kernel {out.name.removeprefix('out-')}",
                        _objects_left(out, name) if first else None)
    if from_nothing:
        _remember(name, done)


def out_of(folder, config, arch="x86_64"):
    """The build folder of a configuration; other architectures are named."""
    return folder / "-".join(["out", config, *[arch] * bool(CROSS[arch])])


def given(image, arch):
    """The kernel of an image in its build folder, or None for another arch.

    The folder's name says the configuration.
    """
    image = Path(image).resolve()
    if not image.match(f"*/{IMAGES[arch]}"):
        return None
    out = image.parents[3]
    config = out.name.removeprefix("out-").removesuffix(f"-{arch}")
    return Kernel(image, config, arch, "given", out.parent, out)


def _lock(folder, out):
    return hold.lock(f"kernel-{folder.name}-{out.name}")


def lock(kernel):
    """The lock on a kernel's build folder."""
    return _lock(kernel.tree, kernel.build)


def build(config="test", arch="x86_64", tree=None, strict=True):
    """A built kernel of the tree, or of another tree that is given.

    Unless strict, it may lack what the configuration asks for, and says so.
    """
    packages.need("build")
    if CROSS[arch]:
        packages.need(f"build-{arch}")
    folder = tree or trees.tree()
    paths = fragments(config, arch)
    out = out_of(folder, config, arch)
    with _lock(folder, out):
        stamp = out / ".lab-built"
        state = state_of(folder, paths)
        if not stamp.is_file() or stamp.read_text() != state \
                or not (out / IMAGES[arch]).is_file():
            stamp.unlink(missing_ok=True)
            _build(folder, out, config, arch, paths, strict)
            stamp.write_text(state)
    return Kernel(out / IMAGES[arch], config, arch, _release(out), folder,
                  out)


def show():
    """./lab build."""
    kernel = build()
    base = bases.base()
    say(f"base:   {settings.BASE_PACKAGE} {base.version}")
    say(f"kernel: {kernel.release}, configuration {kernel.config}")
    say(f"image:  {kernel.image}")
