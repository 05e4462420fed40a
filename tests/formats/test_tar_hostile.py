"""Streams made to do harm, or damaged: nothing outside the destination changes."""

from __future__ import annotations

import os
import random
import stat
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ndmpd.errors import StreamError
from ndmpd.formats.job import Selection
from ndmpd.formats.tar import Tar
from protocol.ndmp.codes import DataOperation, RecoveryStatus
from protocol.streams import pax, tar, tarentry
from protocol.streams.tar import Type
from tests.formats.recorder import Folders, MemoryStream, RecordingReporter, make_job
from tests.formats.test_tar import back_up
from tests.trees.odd import access_list


def entry(
    name: bytes,
    kind: int = Type.REGULAR,
    data: bytes = b"",
    link: bytes = b"",
    mode: int = 0o644,
    records: list[tuple[bytes, bytes]] | None = None,
    size: int | None = None,
) -> bytes:
    head = tarentry.put(
        name,
        mode,
        os.geteuid(),
        os.getegid(),
        len(data) if size is None else size,
        10**18,
        kind,
        link,
        0,
        0,
        records,
    )
    return head + data.ljust(tar.padded(len(data)), b"\0")


class Trap:
    """A destination, and beside it what must not change."""

    def __init__(self, base: Path) -> None:
        self.dest = base / "dest"
        self.outside = base / "outside"
        self.dest.mkdir()
        self.outside.mkdir()
        (self.outside / "file").write_text("precious")
        os.chmod(self.outside / "file", 0o600)
        self.before = self.state()

    def state(self) -> list[tuple[str, int, int, int, int]]:
        found = []
        for folder in (self.outside, self.outside.parent):
            for name in sorted(os.listdir(folder)):
                status = os.lstat(folder / name)
                if name != "dest":
                    found.append((name, status.st_mode, status.st_nlink, status.st_size, status.st_ctime_ns))
        return found

    def restore(self, data: bytes, *select: Selection) -> RecordingReporter:
        report = RecordingReporter()
        job = make_job(
            Folders(dest=self.dest),
            report,
            select=select or [Selection("/", "/dest", "/")],
            operation=DataOperation.RECOVER,
        )
        try:
            Tar().recover(job, MemoryStream(data))
        finally:
            assert self.state() == self.before
            assert (self.outside / "file").read_text() == "precious"
        return report


@pytest.fixture
def trap(tmp_path: Path) -> Trap:
    return Trap(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        b"../outside/file",
        b"a/../../outside/file",
        b"..",
        b"../new",
        b"a/..",
        b"./../outside/file",
        b"a/b/../../../outside/file",
    ],
)
@pytest.mark.parametrize("kind", [Type.REGULAR, Type.FOLDER, Type.SYMLINK, Type.FIFO, Type.LINK])
def test_a_name_that_climbs_is_refused_and_the_rest_restored(trap: Trap, name: bytes, kind: Type) -> None:
    report = trap.restore(entry(name, kind, link=b"good") + entry(b"good", data=b"g") + tar.END)
    assert (trap.dest / "good").read_bytes() == b"g"
    assert report.outcomes == [("/", RecoveryStatus.FAILED_PERMISSION)]
    assert report.variables["FILES_FAILED"] == "1"


def test_an_absolute_name_stays_beneath_the_destination(trap: Trap) -> None:
    trap.restore(entry(os.fsencode(trap.outside / "file"), data=b"x") + tar.END)
    assert (trap.dest / str(trap.outside)[1:] / "file").read_bytes() == b"x"


@pytest.mark.parametrize("target", ["../outside", "absolute", "."])
def test_nothing_is_written_through_a_link_of_the_stream(trap: Trap, target: str) -> None:
    link = os.fsencode(trap.outside if target == "absolute" else target)
    for kind in (Type.REGULAR, Type.FOLDER, Type.SYMLINK, Type.FIFO):
        report = trap.restore(
            entry(b"way", Type.SYMLINK, link=link) + entry(b"way/file", kind, link=b"x") + tar.END
        )
        assert report.variables["FILES_FAILED"] == "1"
        assert (trap.dest / "way").is_symlink()


def test_a_link_of_the_stream_is_replaced_by_a_folder_of_the_same_name(trap: Trap) -> None:
    trap.restore(
        entry(b"way", Type.SYMLINK, link=b"../outside")
        + entry(b"way/", Type.FOLDER, mode=0o755)
        + entry(b"way/file", data=b"x")
        + tar.END
    )
    assert (trap.dest / "way/file").read_bytes() == b"x"
    assert not (trap.dest / "way").is_symlink()


def test_a_folder_replaced_by_a_link_while_it_is_filled_is_no_way_out(trap: Trap) -> None:
    report = trap.restore(
        entry(b"way/", Type.FOLDER, mode=0o755)
        + entry(b"way", Type.SYMLINK, link=b"../outside")
        + entry(b"way/file", data=b"2")
        + tar.END
    )
    assert (trap.dest / "way").is_symlink()
    assert report.variables["FILES_FAILED"] == "1"


@pytest.mark.parametrize("link", [b"../outside/file", b"/etc/passwd", b"way/file", b"missing", b"dir", b""])
def test_a_hard_link_reaches_nothing_outside(trap: Trap, link: bytes) -> None:
    report = trap.restore(
        entry(b"way", Type.SYMLINK, link=b"../outside")
        + entry(b"dir/", Type.FOLDER)
        + entry(b"linked", Type.LINK, link=link)
        + entry(b"linked", data=b"overwritten")
        + tar.END
    )
    assert (trap.dest / "linked").read_bytes() == b"overwritten"
    assert report.outcomes[0][1] != RecoveryStatus.SUCCESSFUL


@pytest.mark.parametrize("offset", [0, 512, 1 << 40, (1 << 64) - 1])
def test_a_link_with_a_false_position_is_an_error_or_a_loss(trap: Trap, offset: int) -> None:
    data = (
        entry(b"a", data=b"1")
        + entry(b"b", Type.LINK, link=b"zz", records=[(tarentry.DATA, b"%d" % offset)])
        + tar.END
    )
    try:
        report = trap.restore(data)
    except StreamError:
        return
    assert report.variables["FILES_FAILED"] == "1"


def test_links_that_point_at_each_other_end(trap: Trap) -> None:
    first = entry(b"a", Type.LINK, link=b"b", records=[(tarentry.DATA, b"1536")])
    second = entry(b"b", Type.LINK, link=b"a", records=[(tarentry.DATA, b"0")])
    assert len(first) == 1536
    report = trap.restore(first + second + tar.END)
    assert report.variables["FILES_FAILED"] == "2"


@pytest.mark.parametrize("size", [pax.MAX_HEADER + 1, 1 << 32, 0o77777777777])
@pytest.mark.parametrize("kind", [Type.EXTENDED, Type.GLOBAL, Type.GNU_LONG_NAME, Type.GNU_LONG_LINK])
def test_an_announced_header_size_is_bounded_before_it_is_read(trap: Trap, size: int, kind: Type) -> None:
    with pytest.raises(StreamError, match="announces"):
        trap.restore(tar.block(b"x", 0, 0, 0, size, 0, kind) + bytes(4096))


def test_extended_headers_do_not_follow_one_another_for_ever(trap: Trap) -> None:
    with pytest.raises(StreamError, match="too many"):
        trap.restore(tarentry.extended_header(b"6 a=b\n") * 100 + tar.END)


@pytest.mark.parametrize(
    "records",
    [
        [(b"size", b"99999999999999999999")],
        [(b"size", b"-1")],
        [(b"uid", b"x")],
        [(b"mtime", b"1e9")],
        [(b"path", b"x" * (pax.MAX_NAME + 1))],
        [(b"path", b"a\0b")],
        [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.realsize", b"99999999999999999999")],
    ],
)
def test_records_that_cannot_be_are_errors(trap: Trap, records: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(StreamError):
        trap.restore(entry(b"a", data=b"x" * 512, records=records) + tar.END)


@pytest.mark.parametrize(
    "sparse_map",
    [
        b"1\n0\n999999\n",
        b"2\n100\n10\n50\n10\n",
        b"99999999\n",
        b"x\n",
        b"1\n0\n512\n",
        b"1\n18446744073709551615\n1\n",
        b"0\n",
        b"1\n5000\n1\n",
    ],
)
def test_sparse_maps_that_cannot_be_are_errors(trap: Trap, sparse_map: bytes) -> None:
    data = sparse_map.ljust(512, b"\0")
    records = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"5000")]
    with pytest.raises(StreamError):
        trap.restore(entry(b"a", data=data + b"z", records=records) + tar.END)
    assert os.listdir(trap.dest) == []


def test_names_and_attributes_that_no_file_system_takes_are_losses(trap: Trap) -> None:
    report = trap.restore(
        entry(b"n" * 300, data=b"x")
        + entry(b"d" * 300 + b"/x", data=b"y")
        + entry(b"s", Type.SYMLINK, link=b"t" * 5000)
        + entry(b"empty link", Type.SYMLINK)
        + entry(
            b"attributes",
            data=b"z",
            records=[
                pax.attribute(b"nonsense", b"v"),
                pax.attribute(b"", b"v"),
                pax.attribute(b"user." + b"n" * 300, b"v"),
                (b"SCHILY.acl.access", b"user::rwx,nonsense"),
                (b"SCHILY.acl.default", b"user:nobody-at-all:rwx"),
            ],
        )
        + tar.END
    )
    assert os.listdir(trap.dest) == ["attributes"]
    assert (trap.dest / "attributes").read_bytes() == b"z"
    assert report.variables["FILES_FAILED"] == "4"
    assert int(report.variables["ATTRIBUTES_FAILED"]) == 5


def test_a_setuid_file_is_not_made_before_it_has_its_owner(trap: Trap) -> None:
    trap.restore(entry(b"a", data=b"x", mode=0o4755) + tar.END)
    assert stat.S_IMODE((trap.dest / "a").stat().st_mode) == 0o4755


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A stream with one of everything, small."""
    source = tmp_path_factory.mktemp("sample") / "source"
    (source / "folder/below").mkdir(parents=True)
    (source / "folder/file").write_bytes(b"content" * 100)
    (source / "folder/linked").hardlink_to(source / "folder/file")
    (source / "folder/symlink").symlink_to("../../outside/file")
    (source / ("long" * 40)).write_bytes(b"x")
    os.mkfifo(source / "folder/below/fifo")
    os.setxattr(source / "folder/file", "user.a", b"b")
    os.setxattr(
        source / "folder",
        "system.posix_acl_default",
        access_list(owner=7, users={1: 7}, group=5, groups={}, mask=7, other=0),
    )
    with (source / "holes").open("wb") as file:
        file.truncate(200_000)
        file.seek(100_000)
        file.write(b"data")
    return back_up(source)[0]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """One to four changes of the kinds that damage and malice make; headers are summed anew half the time."""
    work = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        block = chance.randrange(len(work) // 512) * 512
        match chance.randrange(6):
            case 0:
                work[chance.randrange(len(work))] = chance.randrange(256)
            case 1:
                at = block + chance.choice([0, 100, 108, 124, 136, 156, 157, 257, 345, 500])
                work[at : at + chance.randint(1, 12)] = chance.randbytes(chance.randint(1, 12))
                work = work[: len(data)]
            case 2:
                del work[block : block + 512 * chance.randint(1, 3)]
            case 3:
                other = chance.randrange(len(data) // 512) * 512
                work[block:block] = data[other : other + 512 * chance.randint(1, 4)]
            case 4:
                name = chance.choice(
                    [b"../outside/file", b"/etc", b"folder/symlink/x", b"..", b"holes/x", b""]
                )
                work[block : block + 100] = name.ljust(100, b"\0")
            case 5:
                work[block + 156 : block + 157] = chance.choice(
                    [b"0", b"1", b"2", b"5", b"6", b"x", b"g", b"L", b"S"]
                )
        if chance.random() < 0.7 and len(work) >= block + 512:
            header = bytes(work[block : block + 148] + b" " * 8 + work[block + 156 : block + 512])
            work[block + 148 : block + 156] = b"%06o\0 " % sum(header)
        if len(work) < 1024:
            break
    return bytes(work)


@pytest.mark.parametrize("seed", range(150))
def test_a_damaged_stream_raises_nothing_but_a_stream_error(sample: bytes, trap: Trap, seed: int) -> None:
    chance = random.Random(seed)
    data = mutated(sample, chance)
    select = chance.choice(
        [
            (),
            (Selection("/folder", "/dest/x", "/folder", 512 * chance.randrange(1, 12)),),
            (Selection("/folder/linked", "/dest/y", "y"), Selection("/holes", "/dest/z", "z")),
        ]
    )
    try:
        report = trap.restore(data, *select)
    except StreamError:
        return
    assert len(report.outcomes) == max(1, len(select))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=3000))
def test_bytes_of_any_kind_are_no_stream(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    trap = Trap(tmp_path_factory.mktemp("any"))
    try:
        trap.restore(data)
    except StreamError:
        pass
    assert os.listdir(trap.dest) == []


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_stream_can_be_listed_or_is_a_stream_error(
    sample: bytes, tmp_path: Path, seed: int
) -> None:
    report = RecordingReporter()
    try:
        Tar().list(
            make_job(Folders(dest=tmp_path), report), MemoryStream(mutated(sample, random.Random(seed)))
        )
    except StreamError:
        return
    assert all(struct.unpack(">I", body[:4])[0] for _, body in report.posts)
