# SPDX-License-Identifier: GPL-2.0
"""Kernel and machines for the tests; one boot serves several tests."""

import signal
from pathlib import Path

import pytest

from harness import kernel as kernels
from harness import settings
from harness.machine import Machine
from harness.say import tail

# disk0 and edu1 are named, disk1 and edu0 are not.
NAMED = "pci=iommu_passthrough=00:04.0;0000:00:07.0"


def pytest_addoption(parser):
    parser.addoption("--kernel", metavar="FILE", help="boot this image, "
                     "in its build folder, in place of the test kernel")
    parser.addoption("--logs", metavar="DIR", type=Path,
                     default=settings.LOGS / "pytest",
                     help="where the serial logs go")
    parser.addoption("--regenerate", action="store_true",
                     help="write the reference data from this kernel")


def pytest_configure():
    """A run that ./lab ends takes its machines with it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def kernel(request):
    """The kernel that is tested."""
    image = request.config.getoption("--kernel")
    if not image:
        return kernels.build("test")
    image = Path(image).resolve()
    build = image.parents[3]
    return kernels.Kernel(image, build.name.removeprefix("out-"), "x86_64",
                          "given", build.parent, build)


@pytest.fixture(scope="session")
def logs(request):
    """The folder of this run's serial logs."""
    return request.config.getoption("--logs").resolve()


@pytest.fixture(scope="session")
def named(kernel, logs):
    """A machine with one disk and one edu named on the boot line."""
    with Machine(kernel, logs / "named.serial.log",
                 boot=[NAMED]) as machine:
        yield machine


@pytest.fixture(scope="session")
def plain(kernel, logs):
    """A machine without any option of ours."""
    with Machine(kernel, logs / "plain.serial.log") as machine:
        yield machine


def machines_of(item):
    """The machines that a test uses."""
    return [value for value in item.funcargs.values()
            if isinstance(value, Machine)]


@pytest.fixture(autouse=True)
def splat_rule(request):
    """A splat fails the test that was running."""
    yield
    for machine in machines_of(request.node):
        machine.check()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the end of its machines' logs."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for machine in machines_of(item):
            report.sections.append((
                f"serial log {machine.log}", tail(machine.log)))
