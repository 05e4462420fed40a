"""Plans carried out by the copy manager of the embedded SAN: the same tape as on the model, up to its end."""

from __future__ import annotations

import random

import pytest

from ndmpd.offload.abilities import Abilities
from ndmpd.offload.backup import backup_steps
from ndmpd.offload.ends import DiskEnd, TapeEnd
from ndmpd.offload.plan import CopyCommand
from ndmpd.offload.restore import restore_steps
from ndmpd.offload.resume import Outcome, progress
from ndmpd.pieces import Inline, LunExtent, Piece, Zeros, behind
from ndmpd.san import San
from protocol.scsi.copyresults import OperatingParameters
from tests.san import conftest as shared
from tests.san.conftest import TapeHost
from tests.san.copymanager import conftest as copying
from tests.san.copymanager.conftest import CopyHost, cscd, disk_content, fill_disk, records

san, manager, nexus, host, tape = shared.san, copying.manager, copying.nexus, copying.host, copying.tape
DISK_SIZE = 1 << 20


def ends(san: San) -> tuple[TapeEnd, dict[str, DiskEnd]]:
    disks = {name: DiskEnd(name, cscd(san, name).designator, 512, DISK_SIZE // 512)
             for name in ("disk0", "disk1")}
    return TapeEnd("tape0", cscd(san, "tape0").designator), disks


def abilities(host: CopyHost) -> Abilities:
    return Abilities.of(OperatingParameters.take(host.parameters().data))


def source(content: dict[str, bytes], seed: int, size: int) -> tuple[list[Piece], bytes]:
    """Pieces of about a MiB and their bytes."""
    chance = random.Random(seed)
    pieces: list[Piece] = []
    stream = b""
    while len(stream) < 1 << 20:
        name, blocks = chance.choice(["disk0", "disk1"]), chance.choice([1, 3, 64, 500])
        lba = chance.randrange(DISK_SIZE // 512 - blocks)
        header = chance.randbytes(chance.choice([1, 300, 4096]))
        pieces += [Inline(header), LunExtent(name, lba, blocks)]
        stream += header + content[name][lba * 512:(lba + blocks) * 512]
    padding = -len(stream) % size
    return [*pieces, Zeros(padding)], stream + bytes(padding)


@pytest.mark.parametrize("size", [512, 1000, 10240, 64512, 262144])
def test_a_planned_backup_and_restore_by_the_embedded_copy_manager(
        san: San, host: CopyHost, tape: TapeHost, size: int) -> None:
    content = {name: fill_disk(san, name, seed=seed) for seed, name in enumerate(("disk0", "disk1"))}
    drive, disks = ends(san)
    pieces, stream = source(content, size, size)
    for step in backup_steps(pieces, size, drive, disks, abilities(host), batch=300_000):
        assert isinstance(step, CopyCommand)
        assert host.raw(step.parameter_list(1).put()).good
    assert records(tape) == [stream[at:at + size] for at in range(0, len(stream), size)]
    assert tape.rewind().good
    san.disk_path("disk0").write_bytes(bytes(DISK_SIZE))
    san.disk_path("disk1").write_bytes(bytes(DISK_SIZE))
    destinations = [Zeros(piece.length) if isinstance(piece, Inline) else piece for piece in pieces]
    for step in restore_steps(destinations, size, drive, disks, abilities(host), batch=300_000):
        assert isinstance(step, CopyCommand)
        assert host.raw(step.parameter_list(1).put()).good
    expected = {name: bytearray(DISK_SIZE) for name in content}
    for piece in pieces:
        if isinstance(piece, LunExtent):
            place = slice(piece.lba * 512, (piece.lba + piece.blocks) * 512)
            expected[piece.disk][place] = content[piece.disk][place]
    assert {name: disk_content(san, name) for name in content} == expected


def test_the_end_of_a_cartridge_is_where_the_copy_manager_and_the_drive_say(
        san: San, host: CopyHost, tape: TapeHost) -> None:
    """Early warning is reached within the 4 MiB cartridge: claims and position agree, and nothing is lost."""
    content = {name: fill_disk(san, name, seed=seed) for seed, name in enumerate(("disk0", "disk1"))}
    drive, disks = ends(san)
    size = 10240
    pieces, stream = source(content, 1, size)
    pieces, stream = pieces * 4, stream * 4
    written = 0
    for step in backup_steps(pieces, size, drive, disks, abilities(host), batch=700_000):
        assert isinstance(step, CopyCommand)
        before = tape.position()[0]
        outcome = host.raw(step.parameter_list(1).put())
        found = progress(step, before, tape.position()[0], Outcome(outcome.status, outcome.sense))
        assert found.certain
        written += found.records
        if not outcome.good:
            left = b"".join(_bytes(piece, content) for piece in step.rest(found.records))
            assert stream[written * size:].startswith(left)
            break
    else:
        raise AssertionError("the cartridge took everything")
    assert records(tape) == [stream[at * size:(at + 1) * size] for at in range(written)]
    assert sum(piece.length for piece in behind(pieces, written * size)) == len(stream) - written * size


def _bytes(piece: Piece, content: dict[str, bytes]) -> bytes:
    if isinstance(piece, LunExtent):
        start = piece.lba * 512 + piece.skip
        return content[piece.disk][start:start + piece.length]
    return bytes(piece.data) if isinstance(piece, Inline) else bytes(piece.length)
