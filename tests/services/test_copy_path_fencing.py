"""A session that dies with a copy under way: the next one finds the tape where it really is."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ndmpd.config import Settings
from ndmpd.devices.leases import abandoned
from ndmpd.devices.opener import Opener
from ndmpd.devices.tape import TapeDrive
from ndmpd.san.copymanager.ends import End
from ndmpd.services.transfer import Mover
from protocol.ndmp.codes import MoverMode
from protocol.scsi.spc import DeviceType
from tests.services.copy_rig import CopyRig, Place, content, image
from tests.services.rig import PATIENCE
from tests.sweep import verdict

RECORD = 4096


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    honest = End.send

    def slow(self: End, *command: Any, **more: Any) -> Any:
        # Before, not after: what a dead session's copy has yet to do comes when others have the drive.
        if self.kind is DeviceType.TAPE:
            time.sleep(0.15)
        return honest(self, *command, **more)

    monkeypatch.setattr(End, "send", slow)
    found = Place(tmp_path)
    yield found
    found.close()


@pytest.mark.parametrize("after", [0.0, 0.05, 0.2, 0.35])
def test_a_killed_session_leaves_no_copy_behind_whoever_opens_its_drive(place: Place, tmp_path: Path,
                                                                        after: float) -> None:
    pieces = image([(0, 2000), (2008, 900), (3000, 900)])
    child = os.fork()
    if not child:
        try:
            rig = CopyRig(place, Mover.SCSI, batch=1 << 30)
            theirs, _, _ = rig.send(pieces, local=True)
            rig.start(theirs, MoverMode.READ, RECORD, local=True)
            rig.next()
            time.sleep(60)
        finally:
            # Else what goes wrong here would go on as a second process of these tests.
            os._exit(0)
    try:
        operations = place.server.operations
        deadline = time.monotonic() + PATIENCE
        while not operations._running:
            assert time.monotonic() < deadline, "no copy began"
            time.sleep(0.002)
        time.sleep(after)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    opener = Opener(Settings.embedded(tmp_path))
    drive = TapeDrive(opener.device("tape0"), "tape0")
    drive.open()
    told = drive.position.object
    assert not list(abandoned(place.run_dir)), "the lease of a copy that has ended"
    time.sleep(0.4)
    now = drive.whereabouts()
    assert told == now, f"the drive stood at {told} when it was opened, and stands at {now}"
    drive.close()
    opener.close()
    stream = content(pieces)
    expected = [stream[at:at + RECORD].ljust(RECORD, b"\0") for at in range(0, len(stream), RECORD)]
    found = verdict.objects(place.san, RECORD)
    assert len(found) == told
    verdict.same_prefix(verdict.records_of(found), expected)
