"""A real server: its session, its data process or itself is killed, or its DMA goes, at a random moment.

What a backup without a fault writes is taken from the tape once. Any other backup of the same tree must have
written a prefix of it, to the last whole record; and the next one the same again.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from ndmpd.client.errors import ClientError
from ndmpd.config import Settings
from ndmpd.devices.opener import Opener
from ndmpd.san import San
from protocol.ndmp.codes import DataHaltReason, MoverHaltReason
from protocol.ndmp.notify import NotifyDataHaltedPost
from tests.peers.server import EmbeddedServer
from tests.sweep import verdict
from tests.sweep.case import rng_of
from tests.sweep.conftest import seeds
from tests.test_server_faults import PATIENCE, RECORD, Dma, Live, children, within

SUCCESS = DataHaltReason.SUCCESSFUL, MoverHaltReason.CONNECT_CLOSED
KINDS = "session killed", "data process killed", "server killed", "closed", "reset", "aborted"


class Ground:
    """The server, the tree that is saved, and the records that this takes."""

    def __init__(self, folder: Path) -> None:
        self.tree, self.place = folder / "tree", folder / "place"
        self.tree.mkdir()
        self.place.mkdir()
        source = random.Random(1)
        for number in range(24):
            (self.tree / f"file {number}").write_bytes(source.randbytes(source.randint(0, 8 << 20)))
        server = EmbeddedServer(folder / "state", (self.tree, self.place)).start()
        self.live = Live(server, self.tree, self.tree, self.place)
        self.san = San.open(folder / "state" / "san")
        self.records = self.saved()
        self.seconds = {"backup": self.timed("backup"), "recover": self.timed("recover")}

    def timed(self, direction: str) -> float:
        """Seconds that a job takes by itself."""
        with Dma(self.live.server) as dma:
            began = time.monotonic()
            if direction == "backup":
                dma.backup(self.tree)
            else:
                dma.recover(self.tree, self.place)
            dma.await_post(NotifyDataHaltedPost)
            taken = time.monotonic() - began
            dma.ended()
        self.live.at_rest()
        return taken

    def saved(self) -> list[bytes]:
        """A whole backup, and what it left on the tape."""
        with Dma(self.live.server) as dma:
            dma.backup(self.tree)
            assert dma.ended() == SUCCESS, dma.errors()
        self.live.at_rest()
        return self.on_tape()

    def on_tape(self) -> list[bytes]:
        """Of a drive that a killed session may have left reserved: the head it was of takes it over."""
        with closing(Opener(Settings.embedded(self.live.server.state))) as opener:
            opener.release("tape0")
        return verdict.records_of(verdict.objects(self.san, RECORD))

    def restored(self) -> None:
        with Dma(self.live.server) as dma:
            dma.recover(self.tree, self.place)
            assert dma.ended()[0] == DataHaltReason.SUCCESSFUL, dma.errors()
        self.live.at_rest()
        for file in self.tree.iterdir():
            assert (self.place / file.name).read_bytes() == file.read_bytes()

    def files(self) -> set[str]:
        """Of the server's state folder, but for what the SAN keeps on purpose."""
        state = self.live.server.state
        return {str(path.relative_to(state)) for path in state.rglob("*")
                if path.parent.name != "nexus" and path.suffix != ".claim"}

    def strike(self, kind: str, dma: Dma, session: int) -> None:
        live = self.live
        match kind:
            case "session killed":
                os.kill(session, signal.SIGKILL)
            case "data process killed":
                for job in live.forked() - {session}:
                    with suppress(ProcessLookupError):
                        os.kill(job, signal.SIGKILL)
            case "server killed":
                (fork_server,) = children(live.pid)
                gone = [live.pid, fork_server, *live.forked()]
                os.kill(live.pid, signal.SIGKILL)
                assert live.server.program is not None
                live.server.program.process.wait()
                within(PATIENCE, lambda: not any(os.path.exists(f"/proc/{one}") for one in gone),
                       "processes outlive their server")
            case "aborted":
                dma.mover.abort()
                dma.data.abort()
                data, mover = dma.ended()
                assert mover in (MoverHaltReason.ABORTED, MoverHaltReason.CONNECT_CLOSED)
                # A recover whose mover is aborted first finds its stream too short.
                assert data in (DataHaltReason.ABORTED, DataHaltReason.CONNECT_ERROR,
                                DataHaltReason.INTERNAL_ERROR, DataHaltReason.SUCCESSFUL)
        if kind == "data process killed":
            data, mover = dma.ended()
            assert data in (DataHaltReason.INTERNAL_ERROR, DataHaltReason.SUCCESSFUL)
            assert mover in (MoverHaltReason.CONNECT_CLOSED, MoverHaltReason.CONNECT_ERROR)
            if data == DataHaltReason.SUCCESSFUL:
                assert mover == MoverHaltReason.CONNECT_CLOSED
        dma.vanish("reset" if kind == "reset" else "closed")
        if kind == "server killed":
            live.server.start()


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    ground = Ground(tmp_path_factory.mktemp("live"))
    try:
        yield ground
    finally:
        ground.live.server.stop()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("direction", ["backup", "recover"])
def test_whatever_dies_at_any_moment_the_next_job_is_whole(ground: Ground, kind: str, direction: str) -> None:
    for seed in seeds(2 if kind == "server killed" or direction == "recover" else 4):
        rng = rng_of(seed, f"live {kind} {direction}")
        shutil.rmtree(ground.place)
        ground.place.mkdir()
        before = ground.files()
        dma = Dma(ground.live.server).__enter__()
        (session,) = ground.live.forked()
        if direction == "backup":
            dma.backup(ground.tree)
        else:
            dma.recover(ground.tree, ground.place)
        time.sleep(0.8 * rng.uniform(0, ground.seconds[direction]))
        try:
            ground.strike(kind, dma, session)
            with suppress(ClientError, OSError):
                dma.__exit__()
            ground.live.at_rest()
            assert ground.files() == before
            found = ground.on_tape()
            if direction == "backup":
                # A mover whose DATA is gone fills up the record that it has begun.
                cut = kind in ("data process killed", "aborted")
                verdict.same_prefix(found, ground.records, cut=cut)
                assert ground.saved() == ground.records
            else:
                assert found == ground.records, "a recover changed the tape"
                ground.restored()
        except BaseException as failure:
            failure.add_note(f"again: SWEEP_SEED={seed} pytest tests/sweep/test_live_sweep.py "
                             f"-k '{kind} and {direction}'")
            raise
