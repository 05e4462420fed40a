"""One machine for all tests here; without what it takes they are skipped, and say what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.vm.kernel import NoKernel, kernel
from tests.vm.machine import QEMU, Machine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.vm)
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    if shutil.which(QEMU) is None:
        pytest.skip(f"{QEMU} is missing; install qemu-system-x86")
    try:
        return Machine(kernel(), tmp_path_factory.mktemp("vm"))
    except NoKernel as reason:
        pytest.skip(str(reason))
