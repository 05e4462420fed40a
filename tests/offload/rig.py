"""Two disks, two tapes, profiles of copy managers, and a head that carries out plans on them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from ndmpd.offload.abilities import Abilities
from ndmpd.offload.backup import backup_steps
from ndmpd.offload.ends import CannotCopy, DiskEnd, TapeEnd
from ndmpd.offload.plan import CopyCommand, HostRecords
from ndmpd.offload.restore import restore_steps
from ndmpd.pieces import FileExtent, Inline, LunExtent, OpenFile, Piece, Zeros, behind
from protocol.scsi.copyresults import OperatingParameters
from protocol.scsi.spc import Designator, DesignatorType
from tests.offload.model import CopyFailed, CopyManager, Disk, Tape

KIB, MIB = 1 << 10, 1 << 20
ALL = (0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x10, 0x11, 0x12, 0x13, 0xE4)
FULL = OperatingParameters(
    max_cscds=64, max_segments=512, max_list_length=32 * KIB, types=ALL, max_inline_length=64 * KIB,
    max_stream_transfer=16 * MIB - 1)


@dataclass(frozen=True)
class Profile:
    """``limits`` are what the copy manager says; ``truth``, if given, what it keeps to."""

    limits: OperatingParameters
    cat: bool = True
    truth: OperatingParameters | None = None
    secretly_lacks: frozenset[int] = frozenset()

    @property
    def honest(self) -> bool:
        return self.truth is None and not self.secretly_lacks

    @property
    def abilities(self) -> Abilities:
        return replace(Abilities.of(self.limits), cat=self.cat if self.honest else True)


def without(*types: int) -> tuple[int, ...]:
    return tuple(code for code in ALL if code not in types)


PROFILES = {
    "everything": Profile(FULL),
    "old gateway": Profile(replace(FULL, types=(0x00, 0x01, 0x02, 0x04, 0x07, 0xE4))),
    "old gateway without CAT": Profile(replace(FULL, types=(0x00, 0x01, 0x02, 0x04, 0x07, 0xE4)), cat=False),
    "one segment": Profile(replace(FULL, max_segments=1)),
    "one segment, two targets, no CAT": Profile(replace(FULL, max_segments=1, max_cscds=2), cat=False),
    "short list": Profile(replace(FULL, max_list_length=1024)),
    "two targets": Profile(replace(FULL, max_cscds=2)),
    "no CAT": Profile(FULL, cat=False),
    "no inline": Profile(replace(FULL, types=without(4), max_inline_length=0)),
    "no inline, no embedded": Profile(replace(FULL, types=without(4, 5), max_inline_length=0)),
    "little inline": Profile(replace(FULL, types=without(5), max_inline_length=600)),
    "no CAT, no inline": Profile(replace(FULL, types=without(4, 5), max_inline_length=0), cat=False),
    "no discard": Profile(replace(FULL, types=without(6))),
    "segment of 64 KiB": Profile(replace(FULL, max_segment_length=64 * KIB)),
    "segment of 1 MiB": Profile(replace(FULL, max_segment_length=MIB)),
    "multiples of 512": Profile(replace(FULL, data_granularity=512, inline_granularity=4)),
    "multiples of 4096": Profile(replace(FULL, data_granularity=4096, inline_granularity=512)),
    "multiples, whole blocks": Profile(replace(FULL, data_granularity=8192, types=without(8, 9))),
    "short tape commands": Profile(replace(FULL, max_stream_transfer=65536)),
    "says CAT, has none": Profile(FULL, cat=False, truth=FULL),
    "says inline, has none": Profile(FULL, secretly_lacks=frozenset({4, 5})),
    "says offsets, has none": Profile(FULL, secretly_lacks=frozenset({8, 9})),
    "says more than it takes": Profile(FULL, truth=replace(
        FULL, max_segments=3, max_list_length=300, max_inline_length=700, data_granularity=1024)),
}


def designator(name: str) -> Designator:
    return Designator(DesignatorType.NAA, name.encode().ljust(8, b"\x60"))


DISK_SIZE = 2 * MIB
PRISTINE = {name: random.Random(name).randbytes(DISK_SIZE) for name in ("a", "b", "far")}


@dataclass
class Rig:
    """``a`` has blocks of 512 bytes, ``b`` of 4096; ``far`` is a disk that no copy manager reaches."""

    disks: dict[str, Disk]
    tape: Tape = field(default_factory=Tape)
    second: Tape = field(default_factory=Tape)
    files: dict[int, bytearray] = field(default_factory=dict)

    @classmethod
    def make(cls) -> Rig:
        return cls({name: Disk(bytearray(PRISTINE[name]), block)
                    for name, block in (("a", 512), ("b", 4096), ("far", 512))})

    @property
    def ends(self) -> dict[str, DiskEnd]:
        return {name: DiskEnd(name, designator(name), disk.block_length, len(disk.data) // disk.block_length)
                for name, disk in self.disks.items() if name != "far"}

    def manager(self, profile: Profile) -> CopyManager:
        units: dict[bytes, Disk | Tape] = {designator(name).identifier: disk
                                           for name, disk in self.disks.items() if name != "far"}
        units |= {designator("tape").identifier: self.tape, designator("tape2").identifier: self.second}
        return CopyManager(profile.limits, units, cat=profile.cat, secretly_lacks=profile.secretly_lacks,
                           strict=profile.truth)

    def content(self, piece: Piece) -> bytes:
        match piece:
            case Inline(data):
                return bytes(data)
            case Zeros(length):
                return bytes(length)
            case FileExtent(_, offset, length):
                return bytes((offset + at) % 251 for at in range(length))
            case LunExtent(disk, lba, blocks, _, skip, _):
                start = skip
                return self.disks[disk].read(lba, blocks)[start:start + piece.length]

    def put(self, piece: Piece, data: bytes) -> None:
        """The head's way to a destination."""
        if not data:
            return
        match piece:
            case Inline(buffer):
                assert isinstance(buffer, bytearray | memoryview)
                buffer[:] = data
            case FileExtent(file, offset, length):
                self.files.setdefault(id(file), bytearray(8 * MIB))[offset:offset + length] = data
            case LunExtent(disk, lba, _, block, skip, _):
                self.disks[disk].write(lba * block + skip, data)

    def fill(self, pieces: Sequence[Piece], data: bytes) -> None:
        at = 0
        for piece in pieces:
            self.put(piece, data[at:at + piece.length])
            at += piece.length
        assert at == len(data)


TAPE = TapeEnd("tape", designator("tape"))
SECOND = TapeEnd("tape2", designator("tape2"))
FILE = OpenFile(-1, "file")


@dataclass
class Work:
    """What a job came to."""

    copied: int = 0
    by_host: int = 0
    commands: list[CopyCommand] = field(default_factory=list)


def carry_out(rig: Rig, profile: Profile, pieces: Sequence[Piece], record_size: int, *, restore: bool = False,
              batch: int = 80_000_000) -> Work:
    """A head: plans, commands, learns from refusals and plans again, and does itself what is left."""
    manager = rig.manager(profile)
    work = Work()
    abilities: Abilities | None = profile.abilities
    while True:
        done = (work.copied + work.by_host) * record_size
        left = behind(pieces, done)
        for step in _steps(rig, left, record_size, abilities, restore, batch):
            if isinstance(step, HostRecords):
                _by_host(rig, step, record_size, restore)
                work.by_host += step.records
                continue
            assert 0 < step.bytes <= max(batch, _largest_stride(step, abilities))
            work.commands.append(step)
            before = rig.tape.position
            try:
                manager.execute(step.parameter_list(7).put())
            except CopyFailed as failure:
                assert not profile.honest, "a plan outside the limits it was made for"
                assert abilities is not None
                abilities = abilities.learn(failure.sense, step)
                # Whole records that were written before the refusal stay; a restore begins the command again.
                if restore:
                    rig.tape.position = before
                else:
                    work.copied += rig.tape.position - before
                break
            assert rig.tape.position - before == step.records
            work.copied += step.records
        else:
            return work


def _largest_stride(step: CopyCommand, abilities: Abilities | None) -> int:
    granularity = abilities.data_granularity if abilities else 1
    return step.record_size * max(granularity, 4096)


def _steps(rig: Rig, pieces: Sequence[Piece], record_size: int, abilities: Abilities | None, restore: bool,
           batch: int) -> Iterator[CopyCommand | HostRecords]:
    plan = restore_steps if restore else backup_steps
    if abilities is not None:
        try:
            return plan(pieces, record_size, TAPE, rig.ends, abilities, batch)
        except CannotCopy:
            pass
    total = sum(piece.length for piece in pieces)
    return iter([HostRecords(total // record_size, tuple(pieces))] if total else [])


def _by_host(rig: Rig, step: HostRecords, record_size: int, restore: bool) -> None:
    assert sum(piece.length for piece in step.pieces) == step.records * record_size
    if restore:
        rig.fill(step.pieces, b"".join(rig.tape.read() for _ in range(step.records)))
        return
    data = b"".join(rig.content(piece) for piece in step.pieces)
    for at in range(0, len(data), record_size):
        rig.tape.write(data[at:at + record_size])
