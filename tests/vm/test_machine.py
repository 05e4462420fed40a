"""The virtual machine itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm.kernel import kernel
from tests.vm.machine import Machine, MachineFailed

SCRIPTS = Path(__file__).parent / "scripts"


def test_the_machine_runs_its_own_kernel_with_drivers_and_without_a_network(machine: Machine) -> None:
    ran = machine.must(SCRIPTS / "hello.sh", 120)
    assert (ran.out / "release").read_text().strip() == kernel().release
    assert (ran.out / "networks").read_text().split() == ["lo"]
    assert "SCSI 2 tape drive" in (ran.out / "status").read_text()


def test_a_script_that_fails_is_told_with_its_console(machine: Machine, tmp_path: Path) -> None:
    script = tmp_path / "fails.sh"
    script.write_text("echo so far so good\nexit 3\n")
    with pytest.raises(MachineFailed, match=r"(?s)status 3.*so far so good"):
        machine.must(script, 120)


def test_the_kernels_own_copy_manager_copies_a_disk_for_others(machine: Machine) -> None:
    machine.must(SCRIPTS / "kernel_copy.sh", 180)
