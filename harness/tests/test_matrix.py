# SPDX-License-Identifier: GPL-2.0
"""The table of a run on several machines has no unexplained hole."""

from harness import matrix

REPORT = """<testsuites><testsuite>
<testcase classname="harness.tests.test_one" name="test_good[vtd]"/>
<testcase classname="harness.tests.test_one" name="test_good[vtd-scalable]"/>
<testcase classname="harness.tests.test_one" name="test_good[amd]">
<skipped message="no such thing"/></testcase>
<testcase classname="harness.tests.test_one" name="test_more[vtd-disk-7]"/>
<testcase classname="harness.tests.test_one" name="test_more[vtd-disk-7]">
<error message="a splat"/></testcase>
<testcase classname="harness.tests.test_one" name="test_more[amd-disk-7]"/>
<testcase classname="harness.tests.test_two" name="test_other[a-vtd]"/>
<testcase classname="harness.tests.test_two" name="test_none"/>
</testsuite></testsuites>"""

TABLE = """\
                          vtd  amd  vtd-scalable
one: good                  ok  (1)            ok
one: more[disk-7]      FAILED   ok             -
(1) no such thing"""


def test_table(tmp_path):
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    lines = matrix.lines(matrix.collect(report))
    assert [line.split() for line in lines] == [
        line.split() for line in TABLE.splitlines()]
    # The columns stand below each other.
    assert len({len(line) for line in lines[:3]}) == 1
