"""Whatever CDB and parameter list comes, a unit gives a status and stays usable."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ndmpd.san import Flush, create
from ndmpd.san.registry import UNIT_CLASSES
from protocol.scsi import command as scsi
from protocol.scsi.command import LENGTHS, Status
from protocol.scsi.sense import SenseKey
from tests.san.conftest import MIB, Host
from tests.san.copymanager.conftest import running

UNITS = ("tape0", "mc0", "disk0", "copy0")


def cdbs(opcodes: list[int]) -> st.SearchStrategy[bytes]:
    """Known operation codes with few bits set, as likely to be legal as not."""
    byte = st.sampled_from((0, 0, 0, 0, 1, 2, 8, 0x10, 0x3F, 0xFF))
    return st.sampled_from(opcodes).flatmap(
        lambda opcode: st.lists(byte, min_size=15, max_size=15).map(
            lambda rest: bytes((opcode, *rest[:LENGTHS[opcode >> 5] - 2], 0))))


@pytest.mark.parametrize("unit", UNITS)
def test_any_command_gets_a_status(tmp_path: Path, unit: str) -> None:
    san = create(tmp_path, capacity=MIB, disk_size=MIB, cartridges=2, flush=Flush.NOTHING)
    host = Host(san, unit)
    table = UNIT_CLASSES[san.unit(unit).type].operations
    opcodes = sorted({one.cdb.opcode for one in table.all})

    @settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(cdbs([int(one) for one in opcodes]), st.binary(max_size=64), st.sampled_from((0, 8, 255, 70000)))
    def send(cdb: bytes, data: bytes, room: int) -> None:
        outcome = host.send(cdb, data, room=room)
        assert outcome.status in (Status.GOOD, Status.CHECK_CONDITION, Status.RESERVATION_CONFLICT)
        assert outcome.transferred <= max(room, len(data))
        if outcome.sense is not None:
            assert outcome.sense.key is not SenseKey.HARDWARE_ERROR

    with running(san):
        send()
    assert host.send(scsi.INQUIRY.put(allocation=36), room=36).good
