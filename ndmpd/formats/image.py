"""Butype ``image``: a whole disk, block by block, as a plan of pieces.

Backup fixes the map first (``image_disk.survey``), then yields header, map, extents and end marker
(``protocol.streams.image``). Recover takes the stream apart and checks header and map whole before the first
byte is written; from then on anything that goes wrong leaves a disk that is neither old nor new, which is
said loudly. File history is the root and one entry, ``/image``: DMAs find both in their indexes.

Variables it knows, beside FILESYSTEM, TYPE and HIST: IMAGEGAPSIZE on backup, ``N`` bytes or ``Nk`` KiB:
ranges of at least that size that an ext2, ext3 or ext4 file system does not use are left out, and left as
they are by a recover. PREFIX on recover, where the name list has no destination.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from ndmpd.errors import JobRefused, NdmpdError, SourceError, StreamError
from ndmpd.formats import history, image_map
from ndmpd.formats.image_disk import (
    BlockDisk,
    OpenDisk,
    in_use,
    opened,
    refuse_target_in_use,
    survey,
    written_to,
)
from ndmpd.formats.image_filling import Filling
from ndmpd.formats.image_map import ImageMap
from ndmpd.formats.job import Job, Selection
from ndmpd.formats.selection import relative
from ndmpd.pieces import Inline, LunExtent, Piece, Zeros
from ndmpd.ports import Reporter, SourceFault, StreamReader, Transport
from protocol.errors import WireError
from protocol.ndmp.codes import ButypeAttr, DataOperation, LogType, RecoveryStatus
from protocol.streams.image import END_SIZE, ENTRY, PAGE, End, Header, map_length, padding

ENTRY_NAME = b"image"
_TO_THE_END = (1 << 64) - 1
_MAP_CHUNK = 64 << 10

_GAP = re.compile(r"(\d{1,15})(k?)", re.IGNORECASE)
_ROOT_NODE = 2
_IMAGE_NODE = 3


@dataclass(frozen=True, slots=True)
class _Figures:
    """What history says of the entries: their size is known, and no time or owner (``history.Figures``)."""

    st_mode: int
    st_size: int = 0
    st_uid: int = 0
    st_gid: int = 0
    st_nlink: int = 1
    st_mtime_ns: int = 0
    st_atime_ns: int = 0
    st_ctime_ns: int = 0


class Image:
    """``ports.Butype``."""

    name = "image"
    blocks = True

    def __init__(self, open_disk: OpenDisk) -> None:
        self._open_disk = open_disk

    def attributes(self) -> ButypeAttr:
        return (ButypeAttr.BACKUP_FH_FILE | ButypeAttr.BACKUP_FH_DIR | ButypeAttr.BACKUP_UTF8
                | ButypeAttr.RECOVER_UTF8 | ButypeAttr.RECOVER_FILEHIST | ButypeAttr.RECOVER_FH_FILE
                | ButypeAttr.RECOVER_FH_DIR)

    def default_env(self) -> list[tuple[str, str]]:
        return [("TYPE", self.name), ("FILESYSTEM", ""), ("LEVEL", "0"), ("HIST", "n"), ("IMAGEGAPSIZE", ""),
                ("DATAMOVER", "AUTO")]

    def check(self, job: Job) -> None:
        if job.operation == DataOperation.BACKUP:
            export, disk_name = _source(job)
            with opened(job, self._open_disk, disk_name) as (transport, disk):
                _refuse_source(export, transport, disk)
        elif job.operation == DataOperation.RECOVER:
            if not job.selections:
                raise JobRefused(f"nothing was selected; give the name / or /{ENTRY_NAME.decode()}")
            if not _wanted(job):
                return  # told name by name, once the job runs
            export, disk_name = _target(job)
            with opened(job, self._open_disk, disk_name) as (transport, disk):
                _refuse_target(export, transport, disk)

    def backup(self, job: Job) -> Iterator[Piece]:
        export, disk_name = _source(job)
        gap = _gap(job)
        if job.environment.get("LEVEL", "0").strip() not in ("", "0"):
            job.report.log(LogType.WARNING, f"{export}: an image has no levels; this is a full backup, LEVEL "
                                            "0")
            job.report.variable("LEVEL", "0")
        job.report.variable("PATHNAME_SEPARATOR", "/")
        with opened(job, self._open_disk, disk_name) as (transport, disk):
            _refuse_source(export, transport, disk)
            capacity = disk.capacity
            try:
                found = survey(disk, gap)
            except WireError as error:
                raise SourceError(f"{export}: the disk contradicts itself ({error}); nothing was backed "
                                  "up") from error
            data, zeros = found.map.counts()
            header = Header(capacity.block_length, capacity.blocks, len(found.map), data, zeros,
                            found.map.checksum, found.contents, found.gap)
            for remark in found.remarks:
                job.report.log(LogType.WARNING, f"{export}: {remark}")
            job.report.log(LogType.NORMAL, f"{export}: {_summary(header)}")
            job.report.estimate(found.map.data_end(header.block_length) + END_SIZE)
            _post(history.chosen(job.environment, job.report), capacity.size)
            yield from _pieces(header, found.map, disk_name)
            # Mounted since the start, it may have changed under the copy, and nothing in the stream would
            # show it.
            use = written_to(in_use(transport, disk))
            if use:
                raise SourceError(f"{export} was mounted while it was read, so the image is worthless: it is "
                                  f"{use}")
            yield Inline(End(found.map.data_end(header.block_length), data, header.map_sum).put())

    def fault(self, job: Job, fault: SourceFault) -> None:
        """A block that cannot be read makes the image worthless, so it ends the job."""
        raise SourceError(f"{_spot(fault)} could not be read ({fault.reason}); an image with a hole in it is "
                          "no backup. Repair the disk, or back up its files instead")

    def recover(self, job: Job, stream: StreamReader) -> None:
        wanted = _wanted(job)
        for selection in job.selections:
            if selection not in wanted:
                job.report.log(LogType.ERROR, f"{selection.given!r}: the stream holds one image, no files; "
                               f"select / or /{ENTRY_NAME.decode()}")
                job.report.recovered(selection.given, RecoveryStatus.FAILED_NOT_FOUND)
        if not wanted:
            return
        export, disk_name = _target(job)
        stream.want(0, _TO_THE_END)
        header, found = _introduction(stream)
        with opened(job, self._open_disk, disk_name) as (transport, disk):
            capacity = disk.capacity
            block = header.block_length
            if capacity.size < header.capacity * block:
                raise JobRefused(f"{export} has {capacity.size} bytes, the image is of a disk of "
                                 f"{header.capacity * block}; name one that is as large")
            _refuse_target(export, transport, disk)
            if capacity.block_length != block:
                job.report.log(LogType.WARNING, f"{export} has blocks of {capacity.block_length} bytes, the "
                               f"image is of a disk with blocks of {block}. Every byte goes where it was; "
                               "what counts in blocks, as a partition table does, will not find it there")
            filling = Filling(stream, transport, disk, disk_name, PAGE + map_length(len(found)))
            try:
                for extent in found:
                    fill = filling.zeros if extent.zeros else filling.data
                    fill(extent.lba * block, extent.blocks * block)
                filling.flush()
                _check_end(stream, header, filling.position)
                disk.synchronize()
            except (NdmpdError, WireError, OSError):
                _say_partial(job.report, export, wanted, filling, found.data_end(block))
                raise
        job.report.log(LogType.NORMAL, f"{export}: restored; {_summary(header)}")
        for selection in wanted:
            job.report.recovered(selection.given, RecoveryStatus.SUCCESSFUL)

    def list(self, job: Job, stream: StreamReader) -> None:
        stream.want(0, _TO_THE_END)
        header, _ = _introduction(stream)
        kind = history.NodeHistory if job.environment.letter("HIST") == "d" else history.PathHistory
        _post(kind(job.report), header.capacity * header.block_length)


def _source(job: Job) -> tuple[str, str]:
    """The export to back up and its disk."""
    path = job.environment.get("FILESYSTEM")
    if not path:
        raise JobRefused("FILESYSTEM is not set; set it to the export of a disk, like /vol/disk0")
    return _disk_of(job, path, ("",))


def _disk_of(job: Job, path: str, inside_allowed: tuple[str, ...]) -> tuple[str, str]:
    volume, inside = job.volumes.locate(path)
    if volume.disk is None:
        raise JobRefused(f"{volume.name} is a folder, and an image is of a disk; name the export of a disk, "
                         "or use tar")
    if inside not in inside_allowed:
        raise JobRefused(f"{path}: an image is of a whole disk; name the export {volume.name} itself")
    return volume.name, volume.disk


def _wanted(job: Job) -> tuple[Selection, ...]:
    """The selections that mean the image."""
    names = {b"", ENTRY_NAME}
    filesystem = relative(job.environment.get("FILESYSTEM"))
    if filesystem is not None:
        names.add(filesystem)
    return tuple(one for one in job.selections if relative(one.original) in names)


def _target(job: Job) -> tuple[str, str]:
    """The export that the selections are to be written to, and its disk."""
    found = set()
    for selection in _wanted(job):
        path = selection.destination or job.environment.get("PREFIX") or job.environment.get("FILESYSTEM")
        if not path:
            raise JobRefused("the destination is not set; name the export of the disk to overwrite, like "
                             "/vol/disk0")
        found.add(_disk_of(job, path, ("", ENTRY_NAME.decode())))
    if len(found) > 1:
        raise JobRefused("the selections name several disks, and the stream can be read once only: "
                         + ", ".join(sorted(export for export, _ in found)))
    return found.pop()


def _refuse_source(export: str, transport: Transport, disk: BlockDisk) -> None:
    """JobRefused where an image would be of many moments at once."""
    use = written_to(in_use(transport, disk))
    if use:
        raise JobRefused(f"{export} is {use}: an image of it would be of many moments at once")


def _refuse_target(export: str, transport: Transport, disk: BlockDisk) -> None:
    """JobRefused where the disk may not be overwritten, whatever the stream holds."""
    if disk.write_protected:
        raise JobRefused(f"{export} is write protected; allow writing to it, or name another disk")
    refuse_target_in_use(export, in_use(transport, disk))


def _gap(job: Job) -> int | None:
    """IMAGEGAPSIZE in bytes: ``N`` or ``Nk``. None where it is not set, or says nothing that can be read."""
    text = job.environment.get("IMAGEGAPSIZE").strip()
    if not text:
        return None
    match = _GAP.fullmatch(text)
    if match is None:
        job.report.log(LogType.WARNING, f"IMAGEGAPSIZE={text!r} is not N or Nk, so the whole disk is backed "
                                        "up")
        return None
    return int(match[1]) * (1024 if match[2] else 1)


def _summary(header: Header) -> str:
    block = header.block_length
    left_out = header.capacity - header.data_blocks - header.zero_blocks
    return (f"{header.capacity * block} bytes: {header.data_blocks * block} as data in {header.extents} "
            f"extents, {header.zero_blocks * block} known to be zeros, {left_out * block} unused and left "
            "out")


def _pieces(header: Header, found: ImageMap, disk_name: str) -> Iterator[Piece]:
    """The stream up to the end marker."""
    yield Inline(header.put())
    for chunk in found.encoded():
        yield Inline(chunk)
    position = PAGE + map_length(len(found))
    if position > PAGE + len(found) * ENTRY:
        yield Zeros(position - PAGE - len(found) * ENTRY)
    for extent in found:
        if extent.zeros:
            continue
        gap = padding(position, extent.lba * header.block_length)
        if gap:
            yield Zeros(gap)
        piece = LunExtent(disk_name, extent.lba, extent.blocks, header.block_length)
        yield piece
        position += gap + piece.length


def _introduction(stream: StreamReader) -> tuple[Header, ImageMap]:
    """Header and map, checked whole; the stream then stands at the data. Raises StreamError."""
    try:
        header = Header.take(stream.read(PAGE))
        size = header.extents * ENTRY
        padded = map_length(header.extents) - size
        found = image_map.taken(header, (stream.read(min(_MAP_CHUNK, size - at))
                                         for at in range(0, size, _MAP_CHUNK)))
    except WireError as error:
        raise StreamError(f"{error}; nothing was written") from None
    if padded:
        stream.into([Zeros(padded)])
    return header, found


def _check_end(stream: StreamReader, header: Header, position: int) -> None:
    try:
        end = End.take(stream.read(END_SIZE))
    except WireError as error:
        raise StreamError(str(error)) from None
    if end != End(position, header.data_blocks, header.map_sum):
        raise StreamError("the end marker of the image belongs to another image")


def _say_partial(report: Reporter, export: str, wanted: tuple[Selection, ...], filling: Filling,
                 total: int) -> None:
    report.log(LogType.ERROR, f"{export} now holds a part of the image only (at least {filling.filled} "
               f"bytes, of a stream of {total}) over what was there before. Do not use it; restore it again, "
               "or restore another backup")
    for selection in wanted:
        report.recovered(selection.given, RecoveryStatus.FAILED_IO_ERROR)


def _spot(fault: SourceFault) -> str:
    piece = fault.piece
    if isinstance(piece, LunExtent):
        return f"disk {piece.disk}: one of the blocks {piece.lba} to {piece.lba + piece.blocks - 1}"
    return "the disk"


def _post(kind: history.History, size: int) -> None:
    """The root folder and the image in it, both at the start of the stream: it can only be read from there.
    """
    root = _Figures(stat.S_IFDIR | 0o755, st_nlink=2)
    kind.folder(_ROOT_NODE, _ROOT_NODE, [(ENTRY_NAME, _IMAGE_NODE)])
    kind.entry(b"", root, _ROOT_NODE, 0)
    kind.entry(ENTRY_NAME, _Figures(stat.S_IFREG | 0o600, st_size=size), _IMAGE_NODE, 0)
    kind.flush()
