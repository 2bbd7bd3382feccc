# SPDX-License-Identifier: GPL-2.0
"""What lazy invalidation has left in the IOMMU is gone when it is strict.

The module edu_lazy_test unmaps a page, and has an edu device write to where it
was. Before the write it waits, so that the group can be changed from DMA-FQ to
DMA; the timer that would flush the IOMMU cannot run meanwhile. It can also
wait within the unmap, where a flush was put off and is not queued yet.

The control is the same without the change: there the write arrives, where
QEMU's IOMMU has such a cache. Without this the tests would show nothing.
"""

import pytest

DRIVER = "edu_lazy_test"
FILES = f"/sys/kernel/debug/{DRIVER}"
FIRST, SECOND = 0x1111111111111111, 0x2222222222222222
# On one CPU the module is busy, on the other is all else that it takes.
# Drivers limit how many faults they report; VT-d's three in five seconds.
RUN = """
sleep 2
cat >/run/lazy <<'END'
type=/sys/kernel/iommu_groups/{group}/type
rm -f /run/status
(taskset 2 sh -c 'echo {where} >{files}/run'; echo $? >/run/status) &
until grep -q Y {files}/waiting; do
    [ ! -s /run/status ] || exit 1
done
echo DMA >$type
status=$?
echo 1 >{files}/go
until [ -s /run/status ]; do sleep 0.1; done
[ $status = 0 ] && [ $(cat /run/status) = 0 ] && [ $(cat $type) = DMA ]
END
taskset 1 sh /run/lazy
"""


@pytest.fixture(scope="module", name="machine")
def fixture_machine(boot):
    """A machine with the driver bound to edu0, whose group is lazy."""
    with boot("lazy") as machine:
        machine.run(f"insmod /lab/{DRIVER}.ko")
        address = machine.device("edu0").full_address
        device = f"/sys/bus/pci/devices/{address}"
        machine.run(f"echo {DRIVER} >{device}/driver_override && "
                    f"echo {address} >/sys/bus/pci/drivers/{DRIVER}/bind")
        yield machine


@pytest.fixture(name="group")
def fixture_group(machine):
    """The number of the group; its invalidation is lazy."""
    group = machine.group_of("edu0").number
    status, text = machine.run_status(
        f"echo DMA-FQ >/sys/kernel/iommu_groups/{group}/type")
    assert status == 0, text
    return group


def value(machine, name):
    """What one of the module's files says."""
    return int(machine.run(f"cat {FILES}/{name}"), 16)


@pytest.mark.needs("stale-translations")
def test_lazy_invalidation_lets_it_through(machine, group):
    """The control; nothing ends the wait but that it was over before."""
    assert machine.group_of("edu0").number == group
    machine.run(f"echo 1 >{FILES}/go && taskset 2 sh -c "
                f"'echo queued >{FILES}/run'")
    assert value(machine, "value") == SECOND


@pytest.mark.parametrize("where", ["queued", "begun"])
def test_strict_invalidation_blocks_it(machine, group, where):
    """The second time the queue is not a new one."""
    path = f"/sys/kernel/iommu_groups/{group}/type"
    for _ in range(2):
        machine.run(f"echo DMA-FQ >{path}")
        before = machine.logs_so_far()
        machine.run(RUN.format(group=group, where=where, files=FILES))
        address = value(machine, "address")
        machine.expect_fault("edu0", address, before)
        assert machine.wait_for_fault("edu0", address)
        assert value(machine, "value") == FIRST
