# SPDX-License-Identifier: GPL-2.0
"""fio's own verify while invalidation is made strict and lazy again.

fio comes with Debian's user space. It needs System V's shared memory, which
not every kernel of ours has; test_data.py does the same without fio.
"""

import dataclasses
import json

import pytest

from harness import debianroot

pytestmark = [pytest.mark.long, pytest.mark.needs("debian-root")]

FIO_MIB = 32
ALTERNATIONS = 1000
SECONDS = 7200
FIO = (f"fio --output-format=json --output=/run/fio.json --ioengine=libaio "
       f"--direct=1 --rw=randwrite --bsrange=4k-64k --iodepth=16 "
       f"--verify=crc32c --verify_fatal=1 --offset=24M --size={FIO_MIB}M "
       "--name=load")
# fio goes over the disk again and again until the changes have an end; the
# last time is a whole one.
LOAD = """
cat >/run/load <<'END'
while :; do
    last=$([ -e /run/stop ] && echo yes)
    {fio} --filename={disk} || exit 1
    [ -z "$last" ] || exit 0
done
END
rm -f /run/stop /run/status
(sh /run/load >/run/said 2>&1; echo $? >/run/status) >/run/none 2>&1 &
"""
ALTERNATE = """
type=/sys/kernel/iommu_groups/{group}/type
for i in $(seq {times}); do
    echo DMA >$type && [ $(cat $type) = DMA ] &&
    echo DMA-FQ >$type && [ $(cat $type) = DMA-FQ ] || exit 1
done
touch /run/stop
until [ -s /run/status ]; do sleep 1; done
cat /run/said
exit $(cat /run/status)
"""


def test_fio_while_flushes_change(boot, spec, record_property):
    devices = [dataclasses.replace(each, disk_mib=debianroot.MIB)
               if each.name == "disk0" else each for each in spec.devices]
    with boot("fio-load", devices=devices, root_disk="disk0",
              make_root=debianroot.root_disk,
              boot=debianroot.BOOT) as machine:
        if machine.run_status("[ -d /proc/sysvipc ]")[0]:
            pytest.skip("fio needs shared memory of System V, which only "
                        "the KASAN kernel has")
        disk = machine.disk("disk1")
        group = machine.group_of("disk1").number
        machine.run(LOAD.format(fio=FIO, disk=disk))
        machine.run(ALTERNATE.format(group=group, times=ALTERNATIONS // 2),
                    SECONDS)
        job = json.loads(machine.run("cat /run/fio.json"))["jobs"][0]
        assert job["error"] == 0
        # All of it was written, and read again.
        assert job["write"]["io_bytes"] == FIO_MIB << 20
        assert job["read"]["io_bytes"] == FIO_MIB << 20
        record_property("figure", f"{ALTERNATIONS} changes under fio")
