# SPDX-License-Identifier: GPL-2.0
"""Virtual functions are named by class or by address, like other devices."""

import pytest

from harness import machinespec, proofs

pytestmark = pytest.mark.needs("sriov")

NVME = {"subsys": "subsystem", "serial": "pf", "sriov_max_vfs": "2",
        "max_ioqpairs": "6", "msix_qsize": "7", "sriov_vq_flexible": "4",
        "sriov_vi_flexible": "2"}
PHYSICAL = machinespec.Device("pf", "nvme", "00:0a.0", NVME)
VIRTUAL = [machinespec.Device("vf0", "", "00:0a.1"),
           machinespec.Device("vf1", "", "00:0a.2")]
PARAMETER = ("identity", "parameter")


@pytest.mark.parametrize("entry, named", [
    ("class:010802", ["pf", "vf0", "vf1"]), ("00:0a.2", ["vf1"]),
], ids=["class", "address"])
def test_virtual_functions(boot, entry, named):
    options = ["-device", "nvme-subsys,id=subsystem", *PHYSICAL.options()]
    with boot(f"sriov-{entry.replace(':', '-')}", devices=[],
              present=[PHYSICAL, *VIRTUAL], extra=options,
              boot=[f"pci=iommu_passthrough={entry}"]) as machine:
        # The functions would have to be set up before a driver can use them.
        machine.run(
            f"cd /sys/bus/pci/devices/{PHYSICAL.full_address} && "
            "echo 0 >sriov_drivers_autoprobe && echo 2 >sriov_numvfs")
        for name in ("pf", "vf0", "vf1"):
            wished = name in named
            assert proofs.type_and_source(machine, name) == (
                PARAMETER if wished else proofs.default(machine))
            assert proofs.said_of(machine, name) == [
                proofs.granted(machine, name)] * wished
