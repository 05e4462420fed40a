"""What units there are: of this machine, behind iSCSI portals, and of the embedded SAN; and who they are.

Nothing is opened for use: units are asked who they are (INQUIRY), which harms nobody who uses them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ndmpd.config_initiator import Initiator
from ndmpd.config_types import Device, Iscsi, Node, Virtual
from ndmpd.devices.copymanager import CopyManager
from ndmpd.devices.embedded import EmbeddedTransport
from ndmpd.devices.errors import TransportError
from ndmpd.devices.initiator import login
from ndmpd.devices.iscsi import IscsiTransport, targets
from ndmpd.devices.iscsi_login import Login
from ndmpd.devices.sgio import SgTransport
from ndmpd.devices.sysfs import KernelUnit, Sysfs
from ndmpd.devices.unit import Unit
from ndmpd.errors import NdmpdError
from ndmpd.ports import Transport
from ndmpd.san.errors import SanError
from ndmpd.san.folder import San
from ndmpd.san.nexus import Nexus
from protocol.errors import WireError
from protocol.scsi import command
from protocol.scsi.spc import UNIT, Designator, DesignatorType, DeviceType, Vpd
from protocol.scsi.thirdparty import ThirdPartyCopy

log = logging.getLogger(__name__)

_WITHIN = 5.0
"""Seconds for a login, at most: a target that is away should not hide the others."""
_LUNS = 8 + 256 * 8
"""Bytes of REPORT LUNS: as many logical units as any drive or changer shows behind one port."""
_FLAT = 0x3FFF
_NAMES = (DesignatorType.NAA, DesignatorType.EUI_64)


@dataclass(frozen=True, slots=True)
class Copies:
    """What a unit says of its copy manager. Lengths in bytes; ``segments`` are descriptor type codes."""

    segments: tuple[int, ...] = ()
    cscds: tuple[int, ...] = ()
    max_cscds: int | None = None
    max_segments: int | None = None
    max_list_length: int | None = None
    max_segment_length: int | None = None
    max_inline_length: int | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A unit. ``device`` as a configuration names it, ``nodes`` what else leads to it. ``wwn``: hexadecimal
    digits; ``designators``: all its names. ``copies`` None: it takes no EXTENDED COPY. ``problem``: why
    nothing more is known.
    """

    device: Device
    nodes: tuple[str, ...] = ()
    type: int = DeviceType.UNKNOWN
    vendor: str = ""
    product: str = ""
    revision: str = ""
    serial: str = ""
    wwn: str = ""
    designators: tuple[str, ...] = ()
    copies: Copies | None = None
    problem: str = ""


def examine(open_transport: Callable[[], Transport], found: Found) -> Found:
    """``found`` with what the unit says of itself; with a problem where it does not."""
    try:
        with closing(CopyManager(open_transport, str(found.device))) as unit:
            inquiry = unit.inquiry()
            if inquiry.qualifier:
                return replace(found, problem="there is no logical unit of that number")
            designators = [one for one in unit.designators() if one.association == UNIT]
            return replace(
                found, type=inquiry.type, vendor=inquiry.vendor, product=inquiry.product,
                revision=inquiry.revision, serial=unit.serial(), wwn=_wwn(designators),
                designators=tuple(one.text for one in designators),
                copies=_copies(unit) if inquiry.third_party_copy else None)
    except (NdmpdError, WireError, OSError) as failure:
        return replace(found, problem=str(failure))


def _wwn(designators: list[Designator]) -> str:
    """The name that a configuration can hold, the longest of the best kind; "" where there is none."""
    fit = [one for one in designators if one.type in _NAMES and len(one.identifier) in (8, 16)]
    best = max(fit, key=lambda one: (one.type, len(one.identifier)), default=None)
    return "" if best is None else best.identifier.hex()


def _copies(unit: CopyManager) -> Copies:
    try:
        parameters, page = unit.limits()
    except TransportError:
        # The copy manager of an embedded SAN runs with its server; the unit itself is there without.
        parameters, page = None, ThirdPartyCopy.take(unit.vital(Vpd.THIRD_PARTY_COPY).put())
    types = sorted({*(parameters.types if parameters else ()), *(page.types if page else ())})
    segments = tuple(one for one in types if one < 0xC0)
    cscds = tuple(one for one in types if one >= 0xE0)
    if parameters is None:
        return Copies(segments, cscds)
    return Copies(segments, cscds, parameters.max_cscds, parameters.max_segments, parameters.max_list_length,
                  parameters.max_segment_length, parameters.max_inline_length)


def kernel_units(sysfs: Sysfs) -> Iterator[Found]:
    """Units of this machine by their generic nodes."""
    for unit in sysfs.units():
        yield examine(partial(SgTransport, unit.generic), _of_kernel(unit))


def _of_kernel(unit: KernelUnit) -> Found:
    best, *others = (*unit.nodes, unit.generic)
    return Found(Node(best), tuple(others), unit.type, unit.vendor, unit.product, unit.revision)


def portal_units(settings: Initiator, host: str, port: int) -> Iterator[Found]:
    """Units of the targets that a portal lists and that it offers itself. Raises TransportError where it
    does not answer.
    """
    for target in targets(_quick(login(settings, host, port))):
        path = _quick(login(settings, host, port, target))
        try:
            with closing(IscsiTransport(path, 0)) as transport:
                luns = _luns(transport, str(path))
        except (NdmpdError, WireError) as failure:
            yield Found(Iscsi(host, port, target, 0), problem=str(failure))
            continue
        for lun in luns:
            yield examine(partial(IscsiTransport, path, lun), Found(Iscsi(host, port, target, lun)))


def _quick(path: Login) -> Login:
    return replace(path, login_within=min(_WITHIN, path.login_within))


def _luns(transport: Transport, name: str) -> list[int]:
    """REPORT LUNS: those with a number that a configuration can name (SAM-5 4.7.7: peripheral and flat)."""
    data = Unit(transport, name).ask("report luns", command.REPORT_LUNS.put(allocation=_LUNS), _LUNS)
    luns = []
    for at in range(8, min(len(data) - 7, 8 + int.from_bytes(data[:4], "big")), 8):
        first = int.from_bytes(data[at:at + 2], "big")
        if first >> 14 in (0, 1) and not any(data[at + 2:at + 8]):
            luns.append(first & _FLAT)
    return luns


def embedded_units(state_dir: Path) -> Iterator[Found]:
    """Units of the embedded SAN, where there is one."""
    san = state_dir / "san"
    try:
        names = list(San.open(san).units)
    except SanError:
        return
    if not os.access(san, os.W_OK):
        yield from (Found(Virtual(name), problem=f"{san} may not be used by this user") for name in names)
        return
    with closing(Nexus(san)) as nexus:
        for name in names:
            yield examine(partial(EmbeddedTransport, san, name, nexus), Found(Virtual(name)))
