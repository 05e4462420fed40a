"""A rig with copy managers: disks, drive and cartridges are in one SAN, whose copy manager is a thread.

``Place`` is that SAN, for as many rigs as want it, one at a time; ``CopyRig`` is ``Rig`` on it. A cartridge
is told from the others by identity of the ``San`` value that stands for it.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ndmpd.devices.changer import Changer
from ndmpd.devices.copymanager import CopyManager
from ndmpd.devices.embedded import EmbeddedTransport
from ndmpd.devices.leases import Leases
from ndmpd.pieces import Inline, LunExtent, Piece, Zeros
from ndmpd.ports import Transport
from ndmpd.san import Flush, San, create
from ndmpd.san.copymanager import engine, gathering, moves, pace, streams
from ndmpd.san.copymanager.profile import PROFILES
from ndmpd.san.copymanager.server import CopyManagerServer
from ndmpd.san.medium import load_facts, save_facts
from ndmpd.san.nexus import Nexus
from ndmpd.services.copy_path import CopyPath
from ndmpd.services.copying import Run
from ndmpd.services.head_path import HeadPath
from ndmpd.services.transfer import Mover, Transfer
from protocol.scsi import command as scsi
from protocol.scsi.smc import ElementType
from protocol.streams.image import padding
from tests.san.conftest import TapeHost
from tests.services.rig import PATIENCE, Rig

BLOCK = 512
DISK = 2 << 20
SEA = random.Random(4).randbytes(DISK)
"""What disk0 holds."""

Wrap = Callable[[str, Transport], Transport]


class Place:
    """A SAN with blank cartridges and a running copy manager, until ``close``."""

    def __init__(self, folder: Path, capacity: int = 64 << 20, early_warning: int = 0,
                 cartridges: int = 1, block_length: int = BLOCK, disk_size: int = DISK,
                 target_block: int = BLOCK) -> None:
        self.capacity = capacity
        self.disk_size = disk_size
        self.san = create(folder, capacity=capacity, early_warning=early_warning, cartridges=cartridges,
                          drives=1, disks=2, disk_size=disk_size, flush=Flush.NOTHING,
                          block_lengths={"disk0": block_length, "disk1": target_block})
        self.cartridges = [replace(self.san) for _ in range(cartridges)]
        self.run_dir = folder / "run"
        self.run_dir.mkdir()
        with self.san.disk_path("disk0").open("r+b") as disk:
            disk.write(SEA)
        self._nexus = Nexus(self.san.path)
        self._changer = Changer(EmbeddedTransport(self.san.path, "mc0", self._nexus), "mc0")
        self._changer.open()
        elements = self._changer.inventory()
        drive = next(one for one in elements if one.type == ElementType.DATA_TRANSFER)
        self._drive = drive.address
        assert drive.source is not None
        slots = [one.address for one in elements if one.type == ElementType.STORAGE and one.full]
        self._homes = [drive.source, *slots]
        self.loaded = 0
        self.used: set[int] = {0}
        self.serve()

    def serve(self) -> None:
        """Start the copy manager."""
        self.server = CopyManagerServer(self.san.path)
        self._thread = threading.Thread(target=self.server.run)
        self._thread.start()

    def stop(self) -> None:
        """End it, and the copies that it carries out."""
        self.server.stop()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def close(self) -> None:
        self.stop()
        self._changer.close()
        self._nexus.close()

    def load(self, number: int) -> None:
        """Have cartridge ``number`` in the drive."""
        if number != self.loaded:
            self._changer.move(self._drive, self._homes[self.loaded])
            self._changer.move(self._homes[number], self._drive)
            self.loaded = number
        self.used.add(number)

    def reset(self) -> None:
        """Blank cartridges, a disk1 of zeros, no profile, no leases."""
        for number in [*sorted(self.used - {0}), 0]:
            self.load(number)
            host = TapeHost(self.san, "tape0")
            assert host.rewind().good and host.send(scsi.ERASE_6.put()).good
            assert host.set_block_length(0).good
            host.close()
        self.used = {0}
        with self.san.disk_path("disk1").open("r+b") as disk:
            disk.truncate(0)
            disk.truncate(self.disk_size)
        self.profile({})
        for lease in self.run_dir.iterdir():
            lease.unlink()

    def fit(self, capacity: int, early_warning: int) -> None:
        """Make all cartridges another length."""
        for folder in self.san.cartridges.iterdir():
            save_facts(folder, replace(load_facts(folder), capacity=capacity, early_warning=early_warning))
        # Out and in again: a drive knows the one that it has.
        self._changer.move(self._drive, self._homes[self.loaded])
        self._changer.move(self._homes[self.loaded], self._drive)

    def profile(self, settings: dict[str, Any]) -> None:
        path = self.san.path / PROFILES
        path.unlink(missing_ok=True)
        if settings:
            path.write_text(json.dumps({"copy0": settings}))


class CopyRig(Rig):
    """``wrap`` puts something around the transport of a unit; ``batch``: of one EXTENDED COPY."""

    def __init__(self, place: Place, asked: Mover = Mover.AUTO, *, batch: int = 1 << 20,
                 wrap: Wrap = lambda name, transport: transport, paths: int = 1) -> None:
        self.place = place
        self._wrap = wrap
        self._batch = batch
        self._paths = paths
        self._made = 0
        self._shared = Nexus(place.san.path)
        super().__init__(place.san.path)
        self._stack.callback(self._shared.close)
        self.asked = asked

    def blank(self) -> San:
        san = self.place.cartridges[len(self.cartridges)]
        self.cartridges.append(san)
        return san

    def _load(self, san: San) -> None:
        number = next(at for at, one in enumerate(self.place.cartridges) if one is san)
        self.place.load(number)
        self._nexus = self._shared
        self._mounted = san

    def _device(self, name: str) -> Transport:
        return self._open(name)

    def _open(self, name: str) -> Transport:
        return self._wrap(name, EmbeddedTransport(self.place.san.path, name, self._shared))

    def disk(self, name: str) -> Transport:
        return self._open(name)

    def _manager(self, name: str) -> Transport:
        """Several copy managers are one unit, each with paths of its own to it."""
        return self._wrap(name, EmbeddedTransport(self.place.san.path, "copy0", self._shared))

    def transfer(self, asked: Mover, run: Run) -> Transfer:
        head = HeadPath(self.disk)

        def path(name: str) -> CopyPath:
            return CopyPath(Leases(self.place.run_dir, name, 4),
                            lambda: CopyManager(lambda: self._manager(name), name), self._batch, head,
                            self.disk, run)

        return Transfer(asked, head, [path(f"copy{number}") for number in range(self._paths)], run.say)

    def log(self) -> str:
        return "\n".join(one.text for one in self.said)


def image(extents: Sequence[tuple[int, int]]) -> list[Piece]:
    """Pieces as the butype image makes them of (first block, blocks) of disk0."""
    pieces: list[Piece] = [Inline(SEA[:4096]), Inline(SEA[8000:8000 + 16 * len(extents)])]
    position = sum(piece.length for piece in pieces)
    for lba, blocks in extents:
        gap = padding(position, lba * BLOCK)
        if gap:
            pieces.append(Zeros(gap))
        pieces.append(LunExtent("disk0", lba, blocks))
        position += gap + blocks * BLOCK
    pieces.append(Inline(SEA[100:100 + 64]))
    return pieces


def content(pieces: Sequence[Piece]) -> bytes:
    """The bytes of ``pieces``."""
    found = bytearray()
    for piece in pieces:
        match piece:
            case Inline(data):
                found += data
            case Zeros(length):
                found += bytes(length)
            case LunExtent(_, lba, _, _, skip, _):
                found += SEA[lba * BLOCK + skip:][:piece.length]
            case _:
                raise TypeError(piece)
    return bytes(found)


def draw_extents(rng: random.Random, most: int) -> list[tuple[int, int]]:
    """A fragmented map of at most ``most`` blocks."""
    extents: list[tuple[int, int]] = []
    at = rng.randrange(64)
    while most > 0 and len(extents) < 40:
        blocks = min(most, rng.choice((1, rng.randint(1, 9), rng.randint(1, 64), rng.randint(1, 1024))))
        if at + blocks > DISK // BLOCK:
            break
        extents.append((at, blocks))
        most -= blocks
        at += blocks + rng.choice((0, 1, 8, rng.randint(1, 200)))
        if rng.random() < 0.1:
            break
    return extents


class Places:
    """Places by what their cartridges are like, made when first wanted."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._folder = Path(tempfile.mkdtemp(prefix="copies", dir="/dev/shm"))
        self._stack.callback(shutil.rmtree, self._folder)
        self._known: dict[tuple[int, int, int, int, int, int], Place] = {}

    def get(self, capacity: int = 64 << 20, early_warning: int = 0, cartridges: int = 1,
            block_length: int = BLOCK, disk_size: int = DISK, target_block: int = BLOCK) -> Place:
        key = capacity, early_warning, cartridges, block_length, disk_size, target_block
        if key not in self._known:
            place = Place(self._folder / str(len(self._known)), *key)
            self._stack.callback(place.close)
            self._known[key] = place
        place = self._known[key]
        place.reset()
        return place

    def close(self) -> None:
        self._stack.close()


def short_runs(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Have the copy manager move ``size`` bytes with a command, or one record: so that a copy has a middle.
    """
    for module in (engine, gathering, moves, pace, streams):
        monkeypatch.setattr(module, "RUN", size)
    monkeypatch.setattr(pace, "MOST", size)
