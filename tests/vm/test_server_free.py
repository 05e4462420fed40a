"""An image between two disks of the kernel's target, by the copy manager that the kernel itself has."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.vm.machine import Machine

SCRIPTS = Path(__file__).parent / "scripts"
SIZE = 48 << 20
_LINE = re.compile(r"\s*(.+?)-\d+ .*target_sequencer_start: .*data_length +(\d+) +CDB ([0-9a-f]{2})")
_EXTENDED_COPY, _READ_16, _WRITE_16 = "83", "88", "8a"


def test_the_kernels_copy_manager_moves_an_image_that_the_head_only_describes(machine: Machine) -> None:
    out = machine.must(SCRIPTS / "server_free.sh", 300).out
    report = (out / "report.json").read_text()
    told = {each["name"]: each["value"] for each in json.loads(report[report.index("{"):])["environment"]}
    assert told["DATAMOVER_USED"] == "SCSI kernel"
    assert int(told["DATAMOVER_OFFLOADED"]) == SIZE
    traced = [(match[1], int(match[2]), match[3])
              for match in map(_LINE.match, (out / "trace").read_text().splitlines()) if match]
    moved = {cdb: sum(length for task, length, code in traced if code == cdb and task.startswith("kworker"))
             for cdb in (_READ_16, _WRITE_16)}
    assert moved[_READ_16] >= SIZE and moved[_WRITE_16] >= SIZE
    ours = [(length, code) for task, length, code in traced if not task.startswith("kworker")]
    assert any(code == _EXTENDED_COPY for _, code in ours)
    assert sum(length for length, _ in ours) < SIZE / 100
