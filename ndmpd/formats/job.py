"""A job: all that a butype is given for one backup or recover."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ndmpd.formats.environment import Environment
from ndmpd.ports import Reporter, Transport, Volumes
from protocol.ndmp.codes import DataOperation, Version


@dataclass(frozen=True, slots=True)
class Selection:
    """One nlist entry, version differences already settled.

    ``original``: path in the backup, relative to its root, "" or "/" for everything. ``destination``: the
    whole new name as the DMA means it (export path), "" to restore under the job's own root. ``given``: the
    name as the DMA wrote it, for LOG_FILE. ``fh_info``: stream offset of the entry, or None if unknown.
    ``alternative``: what to look for where the backup holds no ``original`` (version 3), or "".
    """

    original: str
    destination: str
    given: str
    fh_info: int | None = None
    alternative: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """``disk`` opens a transport to a configured disk by name. ``operation``: what ``check`` is asked
    about.
    """

    environment: Environment
    volumes: Volumes
    report: Reporter
    version: Version
    selections: tuple[Selection, ...] = ()
    disk: Callable[[str], Transport] | None = None
    operation: DataOperation = DataOperation.BACKUP
