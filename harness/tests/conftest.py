# SPDX-License-Identifier: GPL-2.0
"""Kernel and machines for the tests; one boot serves several tests."""

import signal
from pathlib import Path

import pytest

from harness import kernel as kernels
from harness import machinespec, settings
from harness.machine import Machine
from harness.say import tail

# disk0 and edu1 are named, disk1 and edu0 are not.
NAMED = "pci=iommu_passthrough=00:04.0;0000:00:07.0"


def pytest_addoption(parser):
    parser.addoption("--kernel", metavar="FILE", action="append", default=[],
                     help="boot this image, in its build folder, in place of "
                     "the test kernel; once for each architecture")
    parser.addoption("--config", metavar="NAME", default="test",
                     help="the kernel's configuration; with another than "
                     "that of the test kernel, only what boots machines runs")
    parser.addoption("--machine", metavar="NAME", action="append",
                     help="only on this machine; may be repeated")
    parser.addoption("--logs", metavar="DIR", type=Path,
                     default=settings.LOGS / "pytest",
                     help="where the serial logs go")
    parser.addoption("--long", action="store_true",
                     help="also what takes long, and repeat what can be")
    parser.addoption("--regenerate", action="store_true",
                     help="write the reference data from this kernel")


def pytest_configure(config):
    """A run that ./lab ends takes its machines with it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config.addinivalue_line("markers", "needs(feature): of the machine, see "
                            "machinespec.FEATURES")
    config.addinivalue_line("markers", "long: runs only with --long")
    config.addinivalue_line("markers", "config(name): runs only with this "
                            "configuration of the kernel")


def pytest_generate_tests(metafunc):
    """What boots a machine runs once on each of them, one after the other."""
    if "spec" in metafunc.fixturenames:
        names = metafunc.config.getoption("--machine")
        metafunc.parametrize("spec", names or machinespec.names(),
                             indirect=True, scope="session")


def pytest_collection_modifyitems(config, items):
    """A test that a machine cannot run is skipped for the machine's reason.

    -k knows the kernel's configuration as a name of each test on it.
    """
    if not config.getoption("--long"):
        items[:] = [item for item in items
                    if not item.get_closest_marker("long")]
    name = config.getoption("--config")
    items[:] = [item for item in items if all(
        mark.args == (name,) for mark in item.iter_markers("config"))]
    if name != "test":
        items[:] = [item for item in items if "spec" in item.fixturenames]
        for item in items:
            item.extra_keyword_matches.add(name)
    for item in items:
        params = getattr(item, "callspec", None) and item.callspec.params
        if not params or "spec" not in params:
            continue
        spec = machinespec.spec(params["spec"])
        for mark in item.iter_markers("needs"):
            assert set(mark.args) <= set(machinespec.FEATURES)
            for feature in mark.args:
                if feature in spec.cannot:
                    item.add_marker(pytest.mark.skip(
                        reason=spec.cannot[feature]))


@pytest.fixture(scope="session")
def spec(request):
    """The machine that a test runs on."""
    return machinespec.spec(request.param)


@pytest.fixture(scope="session")
def kernel(request, spec):
    """The kernel that is tested."""
    for image in request.config.getoption("--kernel"):
        found = kernels.given(image, spec.arch)
        if found:
            return found
    return kernels.build(request.config.getoption("--config"), spec.arch)


@pytest.fixture(scope="session")
def logs(request):
    """The folder of this run's serial logs."""
    return request.config.getoption("--logs").resolve()


@pytest.fixture(scope="session")
def boot(kernel, logs, spec):
    """Makes the machine; its log has the name that is given."""
    def make(name, **options):
        return Machine(kernel, logs / spec.name / f"{name}.serial.log", spec,
                       **options)
    return make


@pytest.fixture(scope="session")
def named(boot):
    """A machine with one disk and one edu named on the boot line."""
    with boot("named", boot=[NAMED]) as machine:
        yield machine


@pytest.fixture(scope="session")
def plain(boot):
    """A machine without any option of ours."""
    with boot("plain") as machine:
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
