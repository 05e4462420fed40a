"""A copy manager and the head write the same tape, and restore the same disk."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from ndmpd.pieces import Inline, LunExtent, Piece
from ndmpd.services.inlets import LocalInlet, RemoteInlet
from ndmpd.services.transfer import Mover
from ndmpd.session.events import MoverHalted
from protocol.ndmp.codes import MoverHaltReason
from tests.services.copy_rig import BLOCK, DISK, SEA, CopyRig, Places, content, draw_extents, image

RECORDS = (512, 1024, 4000, 10240, 64512, 65536, 262144, 1 << 20)


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    found = Places()
    yield found
    found.close()


def padded(stream: bytes, record: int) -> list[bytes]:
    stream += bytes(-len(stream) % record)
    return [stream[at:at + record] for at in range(0, len(stream), record)]


def restore(reader: LocalInlet | RemoteInlet, pieces: list[Piece]) -> None:
    """Take the stream apart as the butype image does, blocks onto disk1."""
    reader.want(0, sum(piece.length for piece in pieces))
    group: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, Inline):
            reader.into(group)
            group = []
            assert reader.read(piece.length) == piece.data
        else:
            group.append(LunExtent("disk1", piece.lba, piece.blocks) if isinstance(piece, LunExtent)
                         else piece)
    reader.into(group)


def restored(extents: list[tuple[int, int]]) -> bytes:
    found = bytearray(DISK)
    for lba, blocks in extents:
        found[lba * BLOCK:(lba + blocks) * BLOCK] = SEA[lba * BLOCK:(lba + blocks) * BLOCK]
    return bytes(found)


@pytest.mark.parametrize("seed", range(40))
def test_both_movers_write_the_same_cartridges_and_restore_the_same_disk(places: Places, seed: int) -> None:
    rng = random.Random(seed)
    record = RECORDS[seed % len(RECORDS)]
    extents = draw_extents(rng, rng.choice((20, 400, DISK // BLOCK)))
    pieces: list[Piece] = image(extents)
    expected = padded(content(pieces), record)
    total = len(expected) * record
    several = rng.random() < 0.5 and total > 3 * record
    capacity, zone = 64 << 20, 0
    if several:
        capacity = max(2 * record, 65536, total // 5 // 4096 * 4096)
        zone = rng.choice((0, capacity // 4))
        capacity = 1 << (capacity - 1).bit_length()
        zone = rng.choice((0, capacity // 4))
    windows = [rng.randint(1, 6) for _ in range(rng.choice((0, 0, 2, 5)))]
    batch = rng.choice((4 * record, 30 * record, 1 << 20))
    tapes: dict[Mover, list[list[bytes]]] = {}
    for mover in (Mover.NAS, Mover.SCSI):
        place = places.get(capacity, zone, 14 if several else 1)
        with CopyRig(place, mover, batch=batch) as rig:
            tapes[mover], sent = rig.backup(pieces, record, windows=windows)
            assert sent.finished, (sent.failure, rig.ended, rig.log())
            assert rig.ended == MoverHalted(MoverHaltReason.CONNECT_CLOSED)
            if mover is Mover.SCSI:
                spans, offset = [], 0
                for san, tape in zip(rig.used, tapes[mover], strict=True):
                    spans.append((san, offset, len(tape) * record))
                    offset += len(tape) * record
                rig.recover(lambda reader: restore(reader, pieces), spans, record)
                assert place.san.disk_path("disk1").read_bytes() == restored(extents)
                if max(blocks for _, blocks in extents) * BLOCK >= 2 * record:
                    # Some record is made of nothing but blocks.
                    assert sent.used.startswith("SCSI copy0") and sent.offloaded, sent.used
    assert tapes[Mover.SCSI] == tapes[Mover.NAS]
    assert [one for tape in tapes[Mover.NAS] for one in tape] == expected


@pytest.mark.parametrize("seed", range(12))
def test_ranges_of_a_tape_are_restored_from_any_cartridge(places: Places, seed: int) -> None:
    """The DMA seeks from extent to extent, forwards and back."""
    rng = random.Random(seed)
    record = rng.choice((512, 10240, 65536))
    extents = draw_extents(rng, 3000)
    pieces: list[Piece] = image(extents)
    place = places.get(1 << (max(65536, 2 * record, 300_000) - 1).bit_length(), 0, 14)
    with CopyRig(place, Mover.AUTO, batch=rng.choice((16 * record, 1 << 20))) as rig:
        tapes, sent = rig.backup(pieces, record)
        assert sent.finished
        spans, offset = [], 0
        for san, tape in zip(rig.used, tapes, strict=True):
            spans.append((san, offset, len(tape) * record))
            offset += len(tape) * record
        starts, at = [], 0
        for piece in pieces:
            starts.append(at)
            at += piece.length
        chosen = [(piece, start) for piece, start in zip(pieces, starts, strict=True)
                  if isinstance(piece, LunExtent)]
        rng.shuffle(chosen)
        chosen = chosen[:8]

        def take(reader: LocalInlet | RemoteInlet) -> None:
            for piece, start in chosen:
                reader.want(start, piece.length)
                reader.into([LunExtent("disk1", piece.lba, piece.blocks)])

        rig.recover(take, spans, record)
        assert place.san.disk_path("disk1").read_bytes() == restored(
            [(piece.lba, piece.blocks) for piece, _ in chosen])
