# SPDX-License-Identifier: GPL-2.0
"""How a kernel is fetched, patched, built, booted, tested and shown."""
