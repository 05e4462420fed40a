"""The ``tar`` backup type: POSIX pax, which GNU tar extracts.

Variables it knows, beside FILESYSTEM, TYPE and HIST: EXCLUDE, FILES, ONE_FILE_SYSTEM (y: mounted file systems
below FILESYSTEM are left out), NO_ACLS on backup; DIRECT, RECURSIVE, EXTRACT_ACL, RESTORE_OVERWRITE, PREFIX
on recover. DIRECT=n alone forbids the use of fh_info, since what is found there is checked anyway. EXTRACT is
understood and means nothing: the list of names says what is restored. Returned: FILES_FAILED, FILES_CHANGED,
ATTRIBUTES_FAILED, and from a backup STREAM_BYTES, which bounds what direct access asks for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from ndmpd.errors import JobRefused, StreamError
from ndmpd.formats import beneath, history
from ndmpd.formats.job import Job, Selection
from ndmpd.formats.selection import relative
from ndmpd.formats.tally import Tally
from ndmpd.formats.tar_backup import TarBackup
from ndmpd.formats.tar_list import post_history
from ndmpd.formats.tar_place import Place
from ndmpd.formats.tar_reader import EntryReader
from ndmpd.formats.tar_recover import Target, TarRecover
from ndmpd.formats.walk import Walk
from ndmpd.pieces import FileExtent, OpenFile, Piece
from ndmpd.ports import SourceFault, StreamReader, Volume
from protocol.errors import WireError
from protocol.ndmp.codes import ButypeAttr, DataOperation, LogType, RecoveryStatus


class Tar:
    """``ports.Butype``. One job at a time for each object: it lives in the data process of that job."""

    name = "tar"
    blocks = False

    def __init__(self) -> None:
        self._tally: Tally | None = None

    def attributes(self) -> ButypeAttr:
        """3.2.5. No incrementals yet, and history out of a stream by paths only."""
        attr = ButypeAttr
        return (attr.BACKUP_FILELIST | attr.RECOVER_FILELIST | attr.BACKUP_DIRECT | attr.RECOVER_DIRECT
                | attr.BACKUP_UTF8 | attr.RECOVER_UTF8 | attr.BACKUP_FH_FILE | attr.BACKUP_FH_DIR
                | attr.RECOVER_FILEHIST | attr.RECOVER_FH_FILE)

    def default_env(self) -> list[tuple[str, str]]:
        return [("TYPE", "tar"), ("HIST", "n"), ("LEVEL", "0"), ("ONE_FILE_SYSTEM", "y"), ("NO_ACLS", "n"),
                ("DIRECT", "y"), ("RECURSIVE", "y"), ("EXTRACT", "y"), ("EXTRACT_ACL", "y"),
                ("RESTORE_OVERWRITE", "y"), ("PATHNAME_SEPARATOR", "/")]

    def check(self, job: Job) -> None:
        """JobRefused where the source, or every destination, is not in an export or is no folder."""
        if job.operation == DataOperation.BACKUP:
            _source(job).close()
        elif job.operation == DataOperation.RECOVER:
            if not job.selections:
                raise JobRefused("nothing was selected; give the name / for everything")
            refused: JobRefused | None = None
            for selection in job.selections:
                try:
                    _destination(job, selection)
                    return
                except JobRefused as error:
                    refused = refused or error
            if refused:
                raise refused

    def backup(self, job: Job) -> Iterator[Piece]:
        environment, report = job.environment, job.report
        tally = self._tally = Tally(report)
        report.variable("PATHNAME_SEPARATOR", "/")
        if environment.get("LEVEL", "0").strip() not in ("", "0"):
            report.log(LogType.WARNING, f"LEVEL={environment.get('LEVEL')}: tar makes no incrementals yet; "
                                        "this is a full backup (level 0)")
            report.variable("LEVEL", "0")
        root = _source(job)
        walk = Walk(root, environment, tally)
        root.close()
        backup = TarBackup(walk, history.chosen(environment, report), tally,
                           with_acls=not environment.flag("NO_ACLS", False))
        yield from backup.pieces()
        report.variable("STREAM_BYTES", str(backup.position))
        tally.variables()

    def fault(self, job: Job, fault: SourceFault) -> None:
        tally = self._tally
        if tally is None:
            tally = self._tally = Tally(job.report)
        piece = fault.piece
        name, offset = "the stream", fault.skipped
        if isinstance(piece, FileExtent):
            name, offset = piece.file.name, piece.offset + fault.skipped
        tally.fault(name, f"{fault.length} bytes from byte {offset} on could not be read ({fault.reason}); "
                          "they are zeros in the backup")
        tally.variables()

    def recover(self, job: Job, stream: StreamReader) -> None:
        environment = job.environment
        tally = self._tally = Tally(job.report)
        targets = [self._target(job, selection, tally) for selection in job.selections]
        recover = TarRecover(_reader(job, stream), tally, job.report,
                             recursive=environment.flag("RECURSIVE", True))
        umask = os.umask(0)  # the process is this job's own
        try:
            recover.run(targets, direct=environment.flag("DIRECT", True))
        except WireError as error:
            raise StreamError(str(error)) from error
        finally:
            os.umask(umask)
            tally.variables()

    def list(self, job: Job, stream: StreamReader) -> None:
        try:
            post_history(_reader(job, stream), job.report, job.selections)
        except WireError as error:
            raise StreamError(str(error)) from error

    def _target(self, job: Job, selection: Selection, tally: Tally) -> Target:
        names = tuple(name for text in dict.fromkeys((selection.original, selection.alternative))
                      if (text or text is selection.original) and (name := relative(text)) is not None)
        if not names:
            return Target(selection, (), None, RecoveryStatus.FAILED_NOT_FOUND)
        try:
            volume, inside = _destination(job, selection)
        except JobRefused as error:
            job.report.log(LogType.ERROR, f"{selection.given}: {error}")
            return Target(selection, names, None, RecoveryStatus.FAILED_PERMISSION)
        environment = job.environment
        place = Place(volume.open_root, inside, tally, with_acls=environment.flag("EXTRACT_ACL", True),
                      overwrite=environment.flag("RESTORE_OVERWRITE", True), exact_modes=True)
        return Target(selection, names, place)


def _source(job: Job) -> OpenFile:
    """The folder FILESYSTEM, open."""
    path = job.environment.get("FILESYSTEM")
    if not path:
        raise JobRefused("FILESYSTEM is missing; set it to the folder to be backed up")
    volume, inside = job.volumes.locate(path)
    root = _root(volume)
    try:
        found = OpenFile(beneath.open_folder(root.fd, _plain(inside)), path)
    except OSError as error:
        raise JobRefused(f"{path} cannot be opened as a folder: {error.strerror}") from error
    finally:
        root.close()
    return found


def _destination(job: Job, selection: Selection) -> tuple[Volume, bytes]:
    """The export that ``selection`` goes to, and the path in it. Without a destination: where it came
    from.
    """
    path = selection.destination
    if not path:
        base = job.environment.get("PREFIX") or job.environment.get("FILESYSTEM")
        if not base:
            raise JobRefused("neither the name list nor PREFIX or FILESYSTEM says where to restore to")
        path = base.rstrip("/") + "/" + selection.original.lstrip("/")
    volume, inside = job.volumes.locate(path)
    if volume.path is None:
        raise JobRefused(f"{volume.name} is a disk; files can be restored to an exported folder only")
    return volume, _plain(inside)


def _plain(inside: str) -> bytes:
    path = relative(inside)
    if path is None:
        raise JobRefused(f"{inside!r} climbs out of its export")
    return path


def _root(volume: Volume) -> OpenFile:
    if volume.path is None:
        raise JobRefused(f"{volume.name} is a disk; back it up as an image")
    return volume.open_root()


def _reader(job: Job, stream: StreamReader) -> EntryReader:
    total = job.environment.number("STREAM_BYTES", 0)
    return EntryReader(stream, total or None)
