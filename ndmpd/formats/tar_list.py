"""The history of a ``tar`` stream, made from the stream itself (RECOVER_FILEHIST)."""

from __future__ import annotations

import stat
from dataclasses import dataclass

from ndmpd.formats.history import PathHistory
from ndmpd.formats.job import Selection
from ndmpd.formats.selection import relative
from ndmpd.formats.tar_reader import EntryReader
from ndmpd.ports import Reporter
from protocol.ndmp.codes import LogType, RecoveryStatus
from protocol.streams import pax
from protocol.streams.tar import Type
from protocol.streams.tarentry import LINKS, Entry

_FORMATS: dict[int, int] = {
    Type.FOLDER: stat.S_IFDIR, Type.GNU_DUMPDIR: stat.S_IFDIR, Type.FIFO: stat.S_IFIFO,
    Type.CHARACTER: stat.S_IFCHR, Type.BLOCK: stat.S_IFBLK, Type.SYMLINK: stat.S_IFLNK,
}


@dataclass(slots=True)
class _Figures:
    """What a stream tells of a file; access and change times it does not.

    Not frozen: one is made for each entry, and freezing would take longer than all the rest of it.
    """

    st_mode: int
    st_uid: int
    st_gid: int
    st_size: int
    st_nlink: int
    st_mtime_ns: int
    st_atime_ns: int = 0
    st_ctime_ns: int = 0


def post_history(reader: EntryReader, report: Reporter, selections: tuple[Selection, ...]) -> None:
    """Read the whole stream and post a path for every entry, or for those within ``selections``.

    HIST does not matter: ndmjob asks with HIST=n. Paths only, since nodes are not in the stream; each is 0.
    """
    history = PathHistory(report, times=False)
    wanted = {name: selection for selection in selections
              for name in map(relative, (selection.alternative or selection.original, selection.original))
              if name is not None}
    found: set[Selection] = set()
    shared: dict[int, _Figures] = {}
    reader.seek(0, whole=True)
    while (entry := reader.next()) is not None:
        path = relative(entry.name)
        if path is None:
            report.log(LogType.WARNING, f"byte {entry.offset}: a name that climbs out of the backup; "
                                            "left out")
            continue
        if entry.type == Type.GNU_VOLUME:
            continue
        figures = _figures(entry, shared)
        if wanted:
            name: bytes | None = path
            while name and name not in wanted:
                name = name.rpartition(b"/")[0]
            selection = wanted.get(name or b"")
            if selection is None:
                continue
            found.add(selection)
        history.entry(path, figures, 0, entry.offset)
    history.flush()
    for selection in selections:
        status = RecoveryStatus.SUCCESSFUL if selection in found else RecoveryStatus.FAILED_NOT_FOUND
        report.recovered(selection.given, status)


def _figures(entry: Entry, shared: dict[int, _Figures]) -> _Figures:
    first = shared.get(entry.data_offset or 0) if entry.type == Type.LINK else None
    if first is not None:
        return first
    links = pax.take_number(entry.records[LINKS]) if LINKS in entry.records else 1
    size = len(entry.linkname) if entry.type == Type.SYMLINK else entry.size
    kind = _FORMATS.get(entry.type, stat.S_IFREG)
    figures = _Figures(kind | entry.mode, entry.uid, entry.gid, size, links, entry.mtime_ns)
    if LINKS in entry.records:
        shared[entry.offset] = figures
    return figures
