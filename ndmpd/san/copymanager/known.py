"""What copies before have found out of units of the SAN.

It holds as long as nothing has changed there (``Unit.seen``), and to see that takes far less time than to
send the unit a command. Whatever is written is a command still, by which the unit decides.
"""

from __future__ import annotations

from ndmpd.san.unit import Unit

_Seen = tuple[int, int]


class Known:
    """For one thread, and so for one nexus and its own unit objects."""

    def __init__(self) -> None:
        self._readable: dict[str, _Seen] = {}
        self._room: dict[str, tuple[_Seen, int]] = {}

    def readable(self, unit: Unit) -> bool:
        """Whether the nexus may read the unit: it was allowed to, and there was nothing to tell it."""
        return self._readable.get(unit.name) == unit.seen and unit.stands()

    def set_readable(self, unit: Unit) -> None:
        """The unit's last command was to see whether it may be read, and ended well."""
        self._readable[unit.name] = unit.seen

    def room(self, unit: Unit) -> int | None:
        """Bytes from the tape's position to early warning; None where that is to be found out."""
        seen, room = self._room.get(unit.name, (None, 0))
        return room if seen == unit.seen and unit.stands() else None

    def set_room(self, unit: Unit, room: int) -> None:
        """So much is left behind what the unit's last command has written."""
        self._room[unit.name] = unit.seen, room
