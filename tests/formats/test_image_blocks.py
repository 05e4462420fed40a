"""Images of disks with blocks of one length, recovered onto disks with blocks of another."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ndmpd.formats import image, image_filling
from ndmpd.formats.image_disk import Survey
from ndmpd.formats.image_filling import blocks_at
from ndmpd.formats.image_map import Extent, ImageMap, MapBuilder
from ndmpd.pieces import LunExtent
from protocol.ndmp.codes import LogType
from protocol.streams.image import Contents
from tests.formats.image_source import Bench, FileDisk, everything

KIB = 1 << 10
SIZE = 512 * KIB


def filled(path: Path, block_length: int, size: int = SIZE) -> FileDisk:
    path.write_bytes(random.Random(path.name).randbytes(size))
    return FileDisk(path, block_length)


def drawn(rng: random.Random, blocks: int) -> ImageMap:
    """Extents of any kind anywhere, many of them within one block of 4096 bytes, with gaps between."""
    builder = MapBuilder()
    at = rng.choice((0, 0, 3))
    while at < blocks:
        count = min(blocks - at, rng.choice((1, 2, 7, 8, 16, rng.randint(1, 300))))
        builder.add(Extent(at, count, rng.random() < 0.4))
        at += count + rng.choice((0, 0, 0, 1, 5, 8, rng.randint(1, 40)))
    return builder.finish()


@pytest.mark.parametrize("lengths", [(512, 4096), (4096, 512), (1024, 4096), (512, 65536), (512, 512),
                                     (4096, 4096)])
@pytest.mark.parametrize("seed", range(10))
def test_every_byte_goes_where_it_was_and_what_is_left_out_stays(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lengths: tuple[int, int], seed: int) -> None:
    rng = random.Random(f"{lengths} {seed}")
    source, target = lengths
    monkeypatch.setattr(image_filling, "_STEP", rng.choice((64 * KIB, 1 << 26)))
    bench = Bench(a=filled(tmp_path / "a", source), b=filled(tmp_path / "b", target, SIZE + 64 * KIB))
    found = drawn(rng, SIZE // source)
    monkeypatch.setattr(image, "survey", lambda *_: Survey(found, Contents(3), source, ()))
    data, expected = bench.disks["a"].path.read_bytes(), bytearray(bench.disks["b"].path.read_bytes())
    for lba, blocks, zeros in found:
        place = slice(lba * source, (lba + blocks) * source)
        expected[place] = bytes(blocks * source) if zeros else data[place]
    stream = bench.backup("a")
    bench.recover(stream, everything("b"))
    assert bench.disks["b"].path.read_bytes() == expected
    said = bench.notes.texts(LogType.WARNING)
    assert bool(said) == (source != target)
    if said:
        assert f"blocks of {target} bytes, the image is of a disk with blocks of {source}." in said[0]


def test_an_image_that_ends_inside_a_block_of_a_larger_target_leaves_the_rest_of_it(tmp_path: Path) -> None:
    bench = Bench(a=filled(tmp_path / "a", 512, 9 * 512), b=filled(tmp_path / "b", 4096, 8192))
    before = bench.disks["b"].path.read_bytes()
    bench.recover(bench.backup("a"), everything("b"))
    assert bench.disks["b"].path.read_bytes() == bench.disks["a"].path.read_bytes() + before[9 * 512:]


@pytest.mark.parametrize(("offset", "length", "expected"), [
    (0, 4096, LunExtent("d", 0, 1, 4096)),
    (4096, 12288, LunExtent("d", 1, 3, 4096)),
    (512, 512, LunExtent("d", 0, 1, 4096, 512, 3072)),
    (3584, 1024, LunExtent("d", 0, 2, 4096, 3584, 3584)),
    (8192, 512, LunExtent("d", 2, 1, 4096, 0, 3584)),
])
def test_bytes_of_a_disk_are_blocks_without_what_lies_around_them(offset: int, length: int,
                                                                  expected: LunExtent) -> None:
    assert blocks_at("d", offset, length, 4096) == expected
    assert expected.length == length
