"""Who owns a unit: the RESERVE and RELEASE of SPC-2, held by a nexus.

A reservation is a mark in the unit's state, not a lock that is held: other nexuses get answers while it
stands. It ends with RELEASE by its holder or with the holder's death. Persistent reservations, which outlive
their holders, are in ``ndmpd.san.registrants``.
"""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path

from ndmpd.san.nexus import alive


class Access(IntEnum):
    """When a command is carried out. SPC-2 table 10, as far as it goes; SPC-4 5.9.9 for what came later."""

    ALWAYS = 0
    """Whoever owns the unit, and whatever unit attention is pending."""
    SHARED = 1
    """Whoever owns the unit."""
    OWNER = 2
    """Not while another nexus owns the unit."""


class Reservation:
    """The holder of one unit. ``holder`` is what the unit's state keeps."""

    __slots__ = ("_san_dir", "holder")

    def __init__(self, san_dir: Path, holder: str | None) -> None:
        self._san_dir = san_dir
        self.holder = holder

    def owner(self) -> str | None:
        """The nexus that owns the unit; a reservation whose holder has died is broken here."""
        if self.holder is not None and not alive(self._san_dir, self.holder):
            self.holder = None
        return self.holder

    def conflicts(self, nexus: str, access: Access) -> bool:
        """Whether a command of ``nexus`` must end with RESERVATION CONFLICT."""
        return (access is Access.OWNER and self.holder is not None and self.holder != nexus
                and self.owner() is not None)

    def reserve(self, nexus: str) -> None:
        """Take the unit. The caller has made sure of no conflict."""
        self.holder = nexus

    def release(self, nexus: str) -> None:
        """Give it back; nothing happens where ``nexus`` does not hold it (SPC-2 7.19.2)."""
        if self.holder == nexus:
            self.holder = None
