# SPDX-License-Identifier: GPL-2.0
"""Virtual functions are named by class or by address, like other devices."""

import pytest

from harness import machinespec, proofs
from harness.machine import Machine

NVME = {"subsys": "subsystem", "serial": "pf", "sriov_max_vfs": "2",
        "max_ioqpairs": "6", "msix_qsize": "7", "sriov_vq_flexible": "4",
        "sriov_vi_flexible": "2"}
PHYSICAL = machinespec.Device("pf", "nvme", "00:0a.0", NVME)
VIRTUAL = [machinespec.Device("vf0", "", "00:0a.1"),
           machinespec.Device("vf1", "", "00:0a.2")]
PARAMETER, DEFAULT = ("identity", "parameter"), ("DMA-FQ", "default")


@pytest.mark.parametrize("entry, expected", [
    ("class:010802", {"pf": PARAMETER, "vf0": PARAMETER, "vf1": PARAMETER}),
    ("00:0a.2", {"pf": DEFAULT, "vf0": DEFAULT, "vf1": PARAMETER}),
], ids=["class", "address"])
def test_virtual_functions(kernel, logs, entry, expected):
    log = logs / f"sriov-{entry.replace(':', '-')}.serial.log"
    options = ["-device", "nvme-subsys,id=subsystem", *PHYSICAL.options()]
    with Machine(kernel, log, devices=[], present=[PHYSICAL, *VIRTUAL],
                 extra=options,
                 boot=[f"pci=iommu_passthrough={entry}"]) as machine:
        # The functions would have to be set up before a driver can use them.
        machine.run(
            f"cd /sys/bus/pci/devices/{PHYSICAL.full_address} && "
            "echo 0 >sriov_drivers_autoprobe && echo 2 >sriov_numvfs")
        found = {name: proofs.type_and_source(machine, name)
                 for name in expected}
        assert found == expected
        for name, what in expected.items():
            lines = [proofs.granted(machine, name)] \
                if what == PARAMETER else []
            assert proofs.said_of(machine, name) == lines
