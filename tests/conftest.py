"""What all tests share: tests that need root, or a program that is not installed, are skipped with the
reason.
"""

from __future__ import annotations

import os
import shutil
from ctypes.util import find_library
from pathlib import Path

import pytest

from tests.peers import ndmjob

# program -> the Debian package that has it
PACKAGES = {
    "gcc": "gcc", "tar": "tar", "mke2fs": "e2fsprogs", "getfacl": "acl", "getfattr": "attr",
    "tgtd": "tgt", "libiscsi": "libiscsi7", "iscsi-test-cu": "libiscsi-bin", "iscsi-ls": "libiscsi-bin",
    "iscsi-inq": "libiscsi-bin", "iscsi-readcapacity16": "libiscsi-bin", "ip": "iproute2",
}  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "needs(*programs): skipped, with what to type, where one of these programs is missing"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root: run the tests with sudo")
    for marker in item.iter_markers("needs"):
        for program in marker.args:
            reason = missing(program)
            if reason:
                pytest.skip(reason)


def missing(program: str) -> str | None:
    """Why a test cannot use ``program``, and what to do about it; None where it is there."""
    if program == "ndmjob":
        package, found = "amanda-common", ndmjob.find_program() is not None
        if found and not os.access("/var/log/amanda", os.W_OK):
            return "ndmjob insists on writing to /var/log/amanda: run the tests with sudo"
    elif program == "libiscsi":
        package, found = PACKAGES[program], find_library("iscsi") is not None
    else:
        package = PACKAGES[program]
        found = bool(shutil.which(program) or Path("/sbin", program).exists())
    return None if found else f"{program} is not installed: apt-get install {package}"
