"""What the copy manager of each unit takes, and what it says that it takes.

Every unit has all of it, except that a disk has no segments from stream to stream. ``profiles.json`` in the
SAN's folder narrows that by unit, as other copy managers are narrower:

    {"copy0": {"max_segments": 4, "cat": false, "without": [8, 9], "inline": false, "held": false},
     "tape0": {"types": [0, 16, 228], "vpd": false, "claims": {"max_segments": 1000}}}

The names are those of ``OperatingParameters``; ``claims`` are limits that it states although others hold.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields, replace
from typing import Any

from ndmpd.san.errors import SanError
from ndmpd.san.folder import San
from protocol.scsi.copyresults import OperatingParameters
from protocol.scsi.cscd import COPY_MANAGER, NULL_BLOCK, NULL_STREAM, CscdType
from protocol.scsi.segments import SegmentType
from protocol.scsi.spc import DeviceType
from protocol.scsi.thirdparty import Command, ThirdPartyCopy

PROFILES = "profiles.json"

_STREAM_TO_STREAM = frozenset({SegmentType.STREAM_TO_STREAM, SegmentType.STREAM_TO_STREAM_HELD,
                               SegmentType.TAPE_IMAGE})
_HELD = frozenset(range(SegmentType.BLOCK_TO_STREAM_HELD, SegmentType.STREAM_DISCARD_HELD + 1))
_TYPES = frozenset({*range(SegmentType.BLOCK_TO_STREAM, SegmentType.REGISTER_KEY + 1),
                    CscdType.IDENTIFICATION})
_COMMANDS = (Command(0x83, (0x00, 0x1C)), Command(0x84, (0x00, 0x01, 0x03, 0x04)))
_CSCD_IDS = (NULL_BLOCK, NULL_STREAM, COPY_MANAGER)

MAX_INLINE = 1 << 20
MAX_LIST = 1 << 18
MAX_PARAMETERS = 16 + MAX_LIST + MAX_INLINE
"""Longest parameter list that any unit takes."""

LIMITS = OperatingParameters(
    max_cscds=128, max_segments=4096, max_list_length=MAX_LIST, types=tuple(sorted(_TYPES)), snlid=True,
    max_segment_length=1 << 30, max_inline_length=MAX_INLINE, held_limit=1 << 20,
    max_stream_transfer=0xFFFFFF, total_concurrent=64, max_concurrent=64)


@dataclass(frozen=True, slots=True)
class Profile:
    """Of one unit's copy manager. ``cat``: takes segments with that bit. ``vpd``: has page 8Fh.

    ``claims``: the limits that it states, where they are not ``limits``.
    """

    limits: OperatingParameters = LIMITS
    cat: bool = True
    vpd: bool = True
    claims: OperatingParameters | None = None

    @property
    def stated(self) -> OperatingParameters:
        return self.claims or self.limits

    def page(self, device_type: int) -> bytes | None:
        """VPD page 8Fh; None where there is none."""
        if not self.vpd:
            return None
        return ThirdPartyCopy.of(self.stated, _COMMANDS, _CSCD_IDS, device_type).put()


def load_profile(san: San, unit: str) -> Profile:
    """The profile of ``unit``. SanError where profiles.json cannot be used."""
    path = san.path / PROFILES
    whole = _WHOLE[san.unit(unit).type is DeviceType.DISK]
    try:
        found = path.read_bytes() if os.access(path, os.F_OK) else b""
        return _narrowed(whole.limits, json.loads(found).get(unit, {})) if found else whole
    except (ValueError, TypeError, AttributeError) as error:
        raise SanError(f"{path}, unit {unit}: {error}; mend or remove it") from error


_NAMES = frozenset(one.name for one in fields(OperatingParameters))
_FLAGS = frozenset({"cat", "vpd", "inline", "held"})


def _without(limits: OperatingParameters, types: frozenset[int]) -> OperatingParameters:
    return replace(limits, types=tuple(one for one in limits.types if one not in types))


_WHOLE = {disk: Profile(_without(LIMITS, _STREAM_TO_STREAM) if disk else LIMITS) for disk in (False, True)}
"""What a unit has that nothing narrows: a disk, or any other."""


def _narrowed(limits: OperatingParameters, settings: dict[str, Any]) -> Profile:
    if unknown := settings.keys() - _NAMES - _FLAGS - {"without", "claims"}:
        raise ValueError(f"there is no setting {', '.join(sorted(unknown))}")
    limits = _replaced(limits, {name: settings[name] for name in _NAMES & settings.keys()})
    limits = _without(limits, frozenset(settings.get("without", ())))
    if not settings.get("inline", True):
        limits = replace(_without(limits, frozenset({SegmentType.INLINE_TO_STREAM})), max_inline_length=0)
    if not settings.get("held", True):
        limits = replace(_without(limits, _HELD), held_limit=0)
    if limits.max_list_length > MAX_LIST or limits.max_inline_length > MAX_INLINE:
        raise ValueError(f"no list may be longer than {MAX_LIST} bytes, nor inline data than {MAX_INLINE}")
    claims = _replaced(limits, settings["claims"]) if "claims" in settings else None
    return Profile(limits, bool(settings.get("cat", True)), bool(settings.get("vpd", True)), claims)


def _replaced(limits: OperatingParameters, values: dict[str, Any]) -> OperatingParameters:
    if "types" in values:
        values = values | {"types": tuple(sorted(values["types"]))}
    changed = replace(limits, **values)
    # Whatever cannot be put into an answer is found here, not when it is asked for.
    changed.put()
    return changed
