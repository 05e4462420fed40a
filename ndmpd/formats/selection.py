"""From nlist entries on the wire to ``job.Selection``, and how paths of a stream compare.

Version 4 (draft 3.5.2.4): the new name is ``destination_path``, or ``destination_path/name`` where ``name``
is given. Version 3 is written in two ways by the clients in the field: the specification takes the last
component out of ``original_path`` and puts it into ``new_name``, ndmjob leaves ``original_path`` whole and
puts the whole new name into ``new_name``. So the whole path is tried first, then the joined one. Without
``new_name`` the destination is ``destination_dir`` and ``original_path`` just put together, as ndmjob cut
them apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from ndmpd.formats.job import Selection
from protocol.ndmp.codes import Version

_UNKNOWN = (1 << 64) - 1
_EVERYTHING = frozenset(("", "/", "."))
_SPECIAL = (b"", b"/", b".")


class WireName(Protocol):
    """``protocol.ndmp`` nlist entry; version 3's destination_dir is ``destination_path``."""

    @property
    def original_path(self) -> str: ...
    @property
    def destination_path(self) -> str: ...
    @property
    def new_name(self) -> str: ...
    @property
    def fh_info(self) -> int: ...


def selections(names: Iterable[WireName], version: Version) -> tuple[Selection, ...]:
    """What the DMA selected, version differences settled."""
    settle = _from_v3 if version == Version.V3 else _from_v4
    return tuple(settle(name) for name in names)


def _from_v4(name: WireName) -> Selection:
    destination = name.destination_path
    if name.new_name:
        destination = _join(destination, name.new_name)
    return Selection(name.original_path, destination, name.original_path, _position(name.fh_info))


def _from_v3(name: WireName) -> Selection:
    original, folder = name.original_path, name.destination_path
    position = _position(name.fh_info)
    if name.new_name:
        return Selection(original, _join(folder, name.new_name), original, position,
                         alternative=_join(original, name.new_name))
    if original in _EVERYTHING:
        return Selection(original, folder, original, position)
    return Selection(original, folder + original if folder else "", original, position)


def _join(folder: str, name: str) -> str:
    if not folder:
        return name
    return f"{folder.rstrip('/')}/{name.lstrip('/')}"


def _position(fh_info: int) -> int | None:
    """All ones is the draft's "unknown"; DMAs write 0 for it as well, where the whole stream begins
    anyway.
    """
    return None if fh_info in (0, _UNKNOWN) else fh_info


def relative(path: str | bytes) -> bytes | None:
    """``path`` as names stand in a stream here: no leading or doubled "/", no "."; b"" for the root.

    None where ".." occurs or a NUL: such a path names nothing.
    """
    raw = path if isinstance(path, bytes) else path.encode("utf-8", "surrogateescape")
    if b"\0" in raw:
        return None
    if b"/." not in raw and b"//" not in raw and raw[:1] not in _SPECIAL and raw[-1] != 0x2F:
        return raw  # as most are
    parts = [part for part in raw.split(b"/") if part and part != b"."]
    return None if b".." in parts else b"/".join(parts)
