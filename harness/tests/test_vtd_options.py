# SPDX-License-Identifier: GPL-2.0
"""VT-d with other widths, with caching mode and without large pages.

Each is a machine of its own: it boots, a disk keeps its data while the type
of its group is changed, and devices of user space reach what they may.
"""

import dataclasses

import pytest

from harness import proofs, selftests
from harness.machine import Machine

pytestmark = [pytest.mark.long, pytest.mark.needs("vtd-options")]

# Added to QEMU's device, and to the boot line
OPTIONS = {
    "39_bits": ("aw-bits=39", ""),
    "48_bits": ("aw-bits=48", ""),
    "39_bits_caching": ("aw-bits=39,caching-mode=on", ""),
    "48_bits_caching": ("aw-bits=48,caching-mode=on", ""),
    "no_large_pages": ("aw-bits=48", "intel_iommu=sp_off"),
}
PROGRAM = "user_dma"
# What is mapped for the ISA bridge: the first 16 MiB, a line for each page
ISA = ("/sys/kernel/debug/iommu/intel/0000:00:1f.0/"
       "domain_translation_struct")
SEED = 7000000


def changed(spec, device, word):
    """A machine like another, with options added to its IOMMU."""
    options = [f"{option},{device}" if option.startswith("intel-iommu")
               else option for option in spec.options]
    assert options != spec.options
    caching = "caching-mode" in device
    return dataclasses.replace(
        spec, options=options,
        kernel_options=[*spec.kernel_options, *filter(None, [word])],
        # The driver is strict when mappings are cached.
        default_type="DMA" if caching else spec.default_type)


@pytest.fixture(scope="module", name="machine", params=OPTIONS)
def fixture_machine(request, kernel, logs, spec):
    programs = selftests.build(kernel, [PROGRAM])
    log = logs / spec.name / f"vtd-{request.param}.serial.log"
    with Machine(kernel, log, changed(spec, *OPTIONS[request.param]),
                 programs=programs) as machine:
        yield machine


def capabilities(machine):
    """The IOMMU's capability register."""
    return int(machine.run("cat /sys/class/iommu/dmar0/intel-iommu/cap"), 16)


def test_iommu_is_as_asked(machine, request):
    asked = request.node.callspec.params["machine"]
    cap = capabilities(machine)
    assert (cap >> 16 & 0x3f) + 1 == (39 if "39" in asked else 48)
    assert cap >> 7 & 1 == ("caching" in asked)
    assert machine.group_of("disk1").type == machine.spec.default_type
    page = 4 << 10 if asked == "no_large_pages" else 2 << 20
    assert int(machine.run(f"grep -c '^0x' {ISA}")) == (16 << 20) // page


def test_changes_keep_data(machine):
    kinds = ["DMA", machine.spec.default_type, "identity"]
    if "identity-to-dma" not in machine.spec.cannot:
        kinds += ["DMA", "identity", "auto"]
    proofs.write_data(machine, "disk1", SEED)
    for kind in kinds:
        assert proofs.set_type(machine, "disk1", kind) == 0
        assert proofs.read_sum(machine, "disk1") == proofs.data_sum(SEED)


@pytest.mark.parametrize("variant", ["type1", "iommufd", "iommufd_hwpt"])
def test_user_dma(machine, variant):
    for test in ("unmapped", "two_devices"):
        status, text = machine.run_status(
            f"/lab/{PROGRAM} -r {PROGRAM}.{variant}.{test}",
            selftests.PROGRAM_SECONDS)
        blocked = selftests.announced(text)
        machine.declared += blocked
        counts = selftests.parse(PROGRAM, text)
        assert (status, counts.passed, counts.total) == (0, 1, 1), text
        assert len(blocked) == 2
        for fault in blocked:
            machine.wait_for(f"{fault.device}.*fault addr {fault.address:#x}")
