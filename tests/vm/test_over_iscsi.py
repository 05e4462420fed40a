"""Our SAN node, inside the machine, as the kernel's own initiator and drivers see it."""

from __future__ import annotations

from pathlib import Path

from tests.vm.machine import Machine

SCRIPTS = Path(__file__).parent / "scripts"
LIMIT = 400.0


def test_the_kernels_tape_driver_finds_what_mt_and_dd_expect(machine: Machine) -> None:
    machine.must(SCRIPTS / "tape.sh", LIMIT)


def test_mtx_works_the_changer(machine: Machine) -> None:
    machine.must(SCRIPTS / "changer.sh", LIMIT)


def test_sg3_utils_agree_with_the_copy_manager_and_have_it_copy_a_disk_to_tape(machine: Machine) -> None:
    machine.must(SCRIPTS / "third_party.sh", LIMIT)


def test_a_head_on_sg_io_saves_a_disk_of_the_kernel_to_a_drive_the_kernel_attached_and_restores_it(
        machine: Machine) -> None:
    machine.must(SCRIPTS / "sg_io.sh", LIMIT)
