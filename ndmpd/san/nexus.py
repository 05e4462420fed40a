"""I_T nexuses of the embedded SAN: who sends commands, and whether they still live.

A nexus has an id and a lock file of that name, locked as long as it lives. Units keep unit attentions,
reservations and prevented removals by nexus id; what belongs to a nexus that no longer lives counts for
nothing.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from ndmpd.san.errors import SanError, UnitBusy
from ndmpd.san.locks import SharedFile
from protocol.scsi.transportid import IscsiPort, TransportId

FOLDER = "nexus"
_LOOKING = 0.1
"""Seconds in which whoever looks whether a nexus lives has looked."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:,+-]{0,200}")


class Nexus:
    """A live nexus, until ``close`` or the end of this process. A forked child needs one of its own.

    ``name``: for a nexus that others know by name, as that of an iSCSI initiator; otherwise one is made up.
    SanError where the name is in use by a live nexus.
    """

    def __init__(self, san_dir: str | Path, name: str | None = None) -> None:
        self.id = name or secrets.token_hex(8)
        if not NAME.fullmatch(self.id):
            raise SanError(f"{self.id!r} cannot name a nexus")
        path = Path(san_dir) / FOLDER / self.id
        self._pid = os.getpid()
        while True:
            self._file = SharedFile(path, os.O_RDWR | os.O_CREAT)
            try:
                self._file.lock(_LOOKING)
            except UnitBusy:
                self._file.close()
                raise SanError(f"nexus {self.id} is in use by another process") from None
            # Whoever found a dead nexus of this name may have removed its file just now.
            if _same(self._file.fd, path):
                return
            self._file.close()

    def close(self) -> None:
        if os.getpid() == self._pid:
            self._file.path.unlink(missing_ok=True)
        self._file.close()

    def __enter__(self) -> Nexus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def alive(san_dir: Path, nexus: str) -> bool:
    """Whether a live process holds the nexus. The file of a dead one is removed on the way."""
    file = SharedFile(san_dir / FOLDER / nexus)
    try:
        # Shared, so that those who look do not take each other for the nexus.
        if not file.try_lock(shared=True):
            return True
        if _same(file.fd, file.path):
            file.path.unlink(missing_ok=True)
        return False
    except FileNotFoundError:
        return False
    finally:
        file.close()


_MADE_UP = "iqn.2026-11.io.ndmpd:nexus."


def port_of(nexus: str) -> IscsiPort:
    """The initiator port of a nexus: the iSCSI port that its id names, or one made up from the id."""
    return IscsiPort.parse(nexus) or IscsiPort(_MADE_UP + nexus, 0)


def nexus_of(port: TransportId) -> str | None:
    """The nexus of an initiator port; None where it can have none here."""
    if not isinstance(port, IscsiPort) or port.isid is None:
        return None
    name = port.name.removeprefix(_MADE_UP) if not port.isid else port.name
    nexus = port.text if name == port.name else name
    return nexus if NAME.fullmatch(nexus) else None


def _same(fd: int, path: Path) -> bool:
    """Whether the open file is the one that the path leads to."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False
