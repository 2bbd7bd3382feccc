# SPDX-License-Identifier: GPL-2.0
"""Without an option, groups and types are those of the stock kernel."""

import re

import pytest

from harness import proofs, settings


@pytest.mark.needs("reference")
def test_groups_equal_the_stock_kernels(plain, request):
    version = re.match(r"\d+\.\d+\.\d+", plain.run("uname -r"))[0]
    reference = (settings.REFERENCE
                 / f"{version}-{plain.spec.name}-groups.txt")
    groups = plain.groups()
    table = proofs.group_table(groups)
    if request.config.getoption("--regenerate"):
        assert not any(group.source for group in groups), \
            "only a stock kernel makes the reference"
        reference.write_text(table)
    assert reference.read_text() == table


def test_every_source_is_the_default(plain):
    assert {group.source for group in plain.groups()} == {"default"}


def test_nothing_is_said(plain):
    assert "Wish for" not in plain.serial()
