"""What the server says unasked during a job: notices, log messages, outcomes of names, file history."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ndmpd.client.catalogue import Catalogue
from ndmpd.client.history import HistoryWriter, Row
from ndmpd.client.observer import Observer
from ndmpd.client.quick_history import take_dirs, take_files, take_nodes
from protocol.ndmp.codes import Code, FileStatUnsupported, FsType, LogType, RecoveryStatus
from protocol.ndmp.filehist import FhAddDirPost, FhAddFilePost, FhAddNodePost, FileName, FileStat
from protocol.ndmp.log import LogFilePost, LogMessagePost
from protocol.ndmp.message import Message
from protocol.ndmp.notify import NotifyDataReadPost, NotifyMoverPausedPost

KEPT = 200
"""Messages and names kept for the report; the rest is only counted."""

_UNKNOWN_STATS: Row = (None,) * 6
_WEIGHTY = (LogType.ERROR, LogType.WARNING)


@dataclass(slots=True)
class Posts:
    """Takes the posts of a job from all of its connections.

    ``seen``: notices received, by code. ``wanted``: the stream range of the last NOTIFY_DATA_READ that has
    not been answered yet. ``paused``: the last NOTIFY_MOVER_PAUSED, until it is dealt with. ``outcomes``:
    LOG_FILEs by status. ``failed``: names not recovered, ``messages``: errors and warnings as (kind, text);
    both bounded.
    """

    observer: Observer
    history: HistoryWriter
    catalogue: Catalogue | None = None
    backup: int = 0
    woken: bool = False
    seen: Counter[int] = field(default_factory=Counter)
    wanted: tuple[int, int] | None = None
    paused: NotifyMoverPausedPost | None = None
    outcomes: Counter[int] = field(default_factory=Counter)
    failed: list[tuple[str, int]] = field(default_factory=list)
    weights: Counter[int] = field(default_factory=Counter)
    messages: list[tuple[int, str]] = field(default_factory=list)

    def take(self, code: int, post: Message) -> None:
        """The post handler of the job's connections."""
        match post:
            case FhAddFilePost(files):
                for file in files:
                    self.history.file(_name(file.name), _stats(file.stat), file.node, file.fh_info)
            case FhAddDirPost(dirs):
                for entry in dirs:
                    self.history.directory_entry(entry.parent, _name(entry.name), entry.node)
            case FhAddNodePost(nodes):
                for node in nodes:
                    self.history.node(node.node, _stats(node.stats), node.fh_info)
            case LogMessagePost():
                self._message(post)
            case LogFilePost(name, status):
                self.outcomes[int(status)] += 1
                if status != RecoveryStatus.SUCCESSFUL and len(self.failed) < KEPT:
                    self.failed.append((name, int(status)))
            case NotifyDataReadPost(offset, length):
                self.wanted = (offset, length)
                self._notice(code)
            case NotifyMoverPausedPost():
                self.paused = post
                self._notice(code)
            case _:
                self._notice(code)
        if code in (Code.FH_ADD_FILE, Code.FH_ADD_NODE):
            self.observer.history(self.history.entries)

    def take_raw(self, code: int, body: bytes) -> bool:
        """File history in its common form, which is not worth decoding whole; False for anything else."""
        match code:
            case Code.FH_ADD_FILE:
                files = take_files(body)
                for file in files or ():
                    self.history.file(*file)
                taken = files is not None
            case Code.FH_ADD_DIR:
                dirs = take_dirs(body)
                for entry in dirs or ():
                    self.history.directory_entry(entry.parent, entry.name, entry.node)
                taken = dirs is not None
            case Code.FH_ADD_NODE:
                nodes = take_nodes(body)
                for stats, node, fh_info in nodes or ():
                    self.history.node(node, stats, fh_info)
                taken = nodes is not None
            case _:
                return False
        if taken:
            self.observer.history(self.history.entries)
        return taken

    def _notice(self, code: int) -> None:
        self.seen[code] += 1
        self.woken = True

    def _message(self, post: LogMessagePost) -> None:
        text = post.entry.rstrip("\n")
        self.weights[int(post.log_type)] += 1
        if post.log_type in _WEIGHTY:
            if len(self.messages) < KEPT:
                self.messages.append((int(post.log_type), text))
            if self.catalogue is not None and self.backup:
                self.catalogue.add_message(self.backup, int(post.log_type), text)
        self.observer.message(int(post.log_type), text)

    @property
    def errors(self) -> int:
        """How many LOG_MESSAGEs were errors."""
        return self.weights[LogType.ERROR]


def _name(names: tuple[FileName, ...]) -> str:
    """The UNIX name where there is one, else the first."""
    for each in names:
        if each.fs_type == FsType.UNIX:
            return each.name
    return names[0].name if names else ""


def _stats(stats: tuple[FileStat, ...]) -> Row:
    if not stats:
        return _UNKNOWN_STATS
    stat = stats[0]
    group = None if stat.unsupported & FileStatUnsupported.GROUP else stat.group
    return (int(stat.ftype), stat.size, stat.mtime, stat.owner, group, stat.fattr & 0o7777)
