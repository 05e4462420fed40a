"""Streams for property tests: pieces of every kind, and record sizes both usual and odd."""

from __future__ import annotations

from hypothesis import strategies as st

from ndmpd.pieces import FileExtent, Inline, LunExtent, Piece, Zeros, split
from tests.offload.rig import DISK_SIZE, FILE, MIB

RECORD_SIZES = (512, 1000, 1024, 10240, 33333, 64512, 65536, 102400, 262144, MIB)
MOST = 2 * MIB


@st.composite
def extents(draw: st.DrawFn, near: int, disks: str = "ab") -> Piece:
    """Blocks of a disk, some of them cut inside a block at an end."""
    name = draw(st.sampled_from([*disks, *(["far"] if draw(st.integers(0, 9)) == 0 else [])]))
    block = 4096 if name == "b" else 512
    most = min(DISK_SIZE, 2 * near + 8 * block) // block
    blocks = draw(st.one_of(st.integers(1, 4), st.integers(1, most)))
    lba = draw(st.integers(0, DISK_SIZE // block - blocks))
    piece: Piece = LunExtent(name, lba, blocks, block)
    if draw(st.integers(0, 5)) == 0 and piece.length > 2:
        piece = split(piece, draw(st.integers(1, piece.length - 1)))[draw(st.integers(0, 1))]
    return piece


def lengths(near: int) -> st.SearchStrategy[int]:
    return st.one_of(st.integers(0, 1200), st.integers(1, 2).map(lambda n: n * near),
                     st.integers(max(1, near - 700), near + 700))


@st.composite
def pieces(draw: st.DrawFn, record_size: int, *, restore: bool = False) -> list[Piece]:
    """Whole records together."""
    found: list[Piece] = []
    kinds = draw(st.sampled_from(["eeeeee", "eeeizf", "eiz", "ez", "iz"]))
    run = None
    for _ in range(draw(st.integers(1, 14))):
        kind = draw(st.sampled_from(kinds))
        if kind == "e":
            piece = draw(extents(record_size))
            # Sometimes what follows on the disk: neighbours that a planner may join.
            if run is not None and draw(st.booleans()) and run.short == 0:
                end = run.lba + run.blocks
                room = DISK_SIZE // run.block_length - end
                if room:
                    piece = LunExtent(run.disk, end, draw(st.integers(1, min(room, 300))), run.block_length)
            run = piece if isinstance(piece, LunExtent) else None
        else:
            length = draw(lengths(record_size))
            if kind == "i":
                piece = Inline(bytearray(length) if restore else bytes(at % 241 for at in range(length)))
            elif kind == "z":
                piece = Zeros(length)
            else:
                piece = FileExtent(FILE, draw(st.integers(0, 1000)), length)
        if sum(one.length for one in found) + piece.length > MOST:
            break
        found.append(piece)
    total = sum(one.length for one in found)
    found.append(Zeros(-total % record_size))
    return found
