"""A cartridge, opened: its data file, its journal, and what SSC needs to know of them.

All methods are for the holder of the lock that guards the cartridge: the drive that it is in, or the library.
Other processes may have opened it as well; ``refresh`` takes in what they appended.

Order of a write: what lies after the position is cut off in the journal, records are copied into the data
file behind the last one that the journal knows, and one journal entry then makes them part of the tape.

What is kept:
- A process killed at any instruction: every record and filemark of a command that had ended; of the command
  itself all records or none. A journal entry cut in the middle is cut off at the next open.
- Power loss, with ``Flush.JOURNAL`` (the default): after WRITE FILEMARKS without IMMED the structure of the
  tape is safe; the bytes of records are written back in the kernel's own time (about 30 s), so that records
  of the last half minute may read as old or zero bytes. The journal is also made safe before anything is
  overwritten.
- Power loss, with ``Flush.DATA``: WRITE FILEMARKS without IMMED waits for the records as well, as a real
  drive does; what was written before it is safe.
- ``Flush.NOTHING``: no promise about power.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ndmpd.datapath import copy_from_file, copy_to_file
from ndmpd.pieces import OpenFile, Piece
from ndmpd.ports import SourceFault
from ndmpd.san.errors import SanError
from ndmpd.san.folder import Flush, replace_file
from ndmpd.san.locks import SharedFile
from protocol.streams.cartridge import (
    ENTRY_SIZE,
    HEADER_SIZE,
    Entry,
    Kind,
    TapeMap,
    put_entry,
    put_header,
    take_entries,
    take_header,
)

_MIB = 1 << 20
_WORTH_COMPACTING = 4096
"""With so many journal entries more than runs the journal is written anew, in and out of a drive."""


@dataclass(frozen=True, slots=True)
class CartridgeFacts:
    """What does not change by writing on the tape. Sizes in bytes; ``early_warning`` counts from the end."""

    barcode: str
    capacity: int
    early_warning: int
    serial: str = ""
    label: str = ""
    protected: bool = False

    @property
    def warn_at(self) -> int:
        """Early warning is met once this many bytes are on the tape."""
        return self.capacity - self.early_warning


def early_warning_zone(capacity: int) -> int:
    """A sixteenth, at most 64 MiB; at least 1 MiB, so that records fit, if that is no more than half."""
    return min(64 * _MIB, max(capacity // 16, min(_MIB, capacity // 2)))


def save_facts(folder: Path, facts: CartridgeFacts) -> None:
    replace_file(folder / "cartridge.json", json.dumps(asdict(facts), indent=2).encode())


def load_facts(folder: Path) -> CartridgeFacts:
    path = folder / "cartridge.json"
    try:
        return CartridgeFacts(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise SanError(f"there is no cartridge {folder.name}; `ndmpd tape list` names them") from None
    except (ValueError, TypeError) as error:
        raise SanError(f"{path} cannot be read ({error}); restore it from a backup") from error


def create_cartridge(folder: Path, facts: CartridgeFacts) -> None:
    """Make a blank cartridge; one that is there, whole, stays as it is."""
    if (folder / "cartridge.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data").touch()
    replace_file(folder / "journal", put_header(1))
    save_facts(folder, facts)


class Medium:
    """``map`` says where everything on the tape is. WireError at open where the journal is not one.

    ``readonly``: to look at it without the lock, as far as others have written it.
    """

    def __init__(self, folder: Path, flush: Flush, *, readonly: bool = False) -> None:
        self.facts = load_facts(folder)
        self.map = TapeMap()
        self._folder = folder
        self._flush = flush
        self._readonly = readonly
        self._data = SharedFile(folder / "data")
        self._journal = SharedFile(folder / "journal")
        self._inode = 0
        self._header = b""
        self._generation = 0
        self._entries = 0
        self.refresh()
        # Only power loss can leave a data file shorter than its journal says.
        whole = self.map.whole_within(os.fstat(self._data.fd).st_size)
        if whole < self.map.objects and not readonly:
            self._record(Entry(Kind.TRUNCATE, whole))

    def close(self) -> None:
        self._data.close()
        self._journal.close()

    @property
    def remaining(self) -> int:
        """Bytes of records that still fit behind what is there."""
        return max(0, self.facts.capacity - self.map.used)

    def refresh(self) -> None:
        """Take in what others wrote to the journal, and cut off an entry that one of them did not finish."""
        found = os.stat(self._journal.path)
        if found.st_ino != self._inode:
            # Another process compacted it.
            self._journal.close()
            self._inode, self._header = os.fstat(self._journal.fd).st_ino, b""
        fd, size = self._journal.fd, found.st_size
        header = os.pread(fd, HEADER_SIZE, 0)
        end = HEADER_SIZE + self._entries * ENTRY_SIZE
        if header != self._header or size < end:
            self._generation = take_header(header)
            self._header, self._entries, self.map = header, 0, TapeMap()
            end = HEADER_SIZE
        if size == end:
            return
        entries = take_entries(os.pread(fd, size - end, end), self._entries, self._generation)
        for entry in entries:
            self.map.apply(entry)
        self._entries += len(entries)
        if end + len(entries) * ENTRY_SIZE < size and not self._readonly:
            os.ftruncate(fd, end + len(entries) * ENTRY_SIZE)

    def _record(self, entry: Entry) -> None:
        data = put_entry(entry, self._entries, self._generation)
        at = HEADER_SIZE + self._entries * ENTRY_SIZE
        if os.pwrite(self._journal.fd, data, at) < ENTRY_SIZE:
            os.ftruncate(self._journal.fd, at)
            raise SanError(f"{self._journal.path}: no space for a journal entry")
        self._entries += 1
        self.map.apply(entry)

    def truncate(self, place: int) -> None:
        """Make object ``place`` the end of data. The data file keeps its blocks for what is written next."""
        if place >= self.map.objects:
            return
        if place:
            self._record(Entry(Kind.TRUNCATE, place))
        else:
            self._restart(self._generation + 1)
        # What is cut off is overwritten next: it must not be part of the tape again after a power loss.
        if self._flush is not Flush.NOTHING:
            os.fdatasync(self._journal.fd)

    def _restart(self, generation: int) -> None:
        """An empty journal: no entry counts for another generation, even if this process ends here."""
        header = put_header(generation)
        os.pwrite(self._journal.fd, header, 0)
        self._header, self._generation, self._entries, self.map = header, generation, 0, TapeMap()
        os.ftruncate(self._journal.fd, HEADER_SIZE)

    def append(self, pieces: Sequence[Piece], size: int, count: int, faults: list[SourceFault]) -> None:
        """Write ``count`` records of ``size`` bytes, whose bytes are ``pieces``, at end of data."""
        copy_to_file(pieces, self._data.fd, self.map.end, faults)
        self._record(Entry(Kind.RECORDS, count, size))

    def mark(self, count: int) -> None:
        """Write ``count`` filemarks at end of data."""
        self._record(Entry(Kind.MARKS, count))

    def read(self, offset: int, destinations: Sequence[Piece]) -> int:
        """Bytes of the data file from ``offset`` into ``destinations``; returns how many."""
        return copy_from_file(self._data.fd, offset, destinations)

    def open_data(self) -> OpenFile:
        """The data file, for whoever copies whole records out of it."""
        return OpenFile(os.open(self._data.path, os.O_RDONLY | os.O_CLOEXEC), str(self._data.path))

    def flush(self) -> None:
        """Make what was written safe, as far as the setting goes."""
        if self._flush is Flush.DATA:
            os.fdatasync(self._data.fd)
        if self._flush is not Flush.NOTHING:
            os.fdatasync(self._journal.fd)

    def forget_tail(self) -> None:
        """Give back the blocks of the data file behind end of data; their old content is gone."""
        os.ftruncate(self._data.fd, self.map.end)

    def compact(self) -> None:
        """Write the journal anew where it has many more entries than the tape has runs."""
        if self._entries - self.map.runs < _WORTH_COMPACTING:
            return
        generation = self._generation + 1
        content = put_header(generation) + b"".join(
            put_entry(entry, number, generation) for number, entry in enumerate(self.map.entries()))
        replace_file(self._journal.path, content)
        self.refresh()

    def change(self, **facts: str | bool | int) -> None:
        """Change what ``CartridgeFacts`` says, for good. Whoever has the cartridge open must be told."""
        self.facts = replace(self.facts, **facts)  # type: ignore[arg-type]
        save_facts(self._folder, self.facts)
