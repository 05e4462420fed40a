"""The answers to CONFIG requests: what this server is and has (draft 3.2).

Each answer is made from the settings and from what the machine and its units say at that moment. Nothing
fails as a whole because one part of it does not answer: an export or a unit that is not there is reported as
such, and where there is nothing at all the list is empty, which DMAs take better than an error.
GET_AUTH_ATTR is not here: its challenge belongs to the session.
"""

from __future__ import annotations

import importlib.metadata
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from ndmpd.config import Auth, Filesystem, Settings, Unit
from ndmpd.ports import Butype
from ndmpd.services.host import hostid, mounted_on
from ndmpd.services.identities import Identities, Identity
from protocol.ndmp.codes import (
    AddrType,
    AuthType,
    Error,
    FsInfoUnsupported,
    TapeAttr,
    Version,
)
from protocol.ndmp.config import (
    ButypeInfo,
    ConfigGetButypeInfoReply,
    ConfigGetButypeInfoRequest,
    ConfigGetConnectionTypeReply,
    ConfigGetConnectionTypeRequest,
    ConfigGetExtListReply,
    ConfigGetExtListRequest,
    ConfigGetFsInfoReply,
    ConfigGetFsInfoRequest,
    ConfigGetHostInfoReply,
    ConfigGetHostInfoRequest,
    ConfigGetScsiInfoReply,
    ConfigGetScsiInfoRequest,
    ConfigGetServerInfoReply,
    ConfigGetServerInfoRequest,
    ConfigGetTapeInfoReply,
    ConfigGetTapeInfoRequest,
    ConfigSetExtListReply,
    ConfigSetExtListRequest,
    DeviceCapability,
    DeviceInfo,
    FsInfo,
)
from protocol.ndmp.message import Message, Pval, Reply

VENDOR = "ndmpd project"
PRODUCT = "ndmpd"
UNKNOWN_MODEL = "unknown"

_LONGEST_VALUE = 400
"""Bytes of a variable's value: ndmjob keeps no more than 500 for the pair."""
_AUTH_TYPES = {Auth.NONE: AuthType.NONE, Auth.TEXT: AuthType.TEXT, Auth.MD5: AuthType.MD5}
_NO_SIZES = (FsInfoUnsupported.TOTAL_SIZE | FsInfoUnsupported.USED_SIZE | FsInfoUnsupported.AVAIL_SIZE
             | FsInfoUnsupported.TOTAL_INODES | FsInfoUnsupported.USED_INODES)
_NEEDS_DISK = frozenset({"image"})
"""Butypes that work on the disk of an export; the others work on its folder."""


class Inventory:
    """Answers for one session. ``butypes`` as ``ndmpd.formats.registry`` has them."""

    def __init__(self, settings: Settings, version: Version, butypes: Mapping[str, Butype],
                 identities: Identities) -> None:
        self._settings = settings
        self._version = version
        self._butypes = butypes
        self._identities = identities
        self._answers: dict[type[Message], Callable[..., Reply]] = {
            ConfigGetHostInfoRequest: self._host_info,
            ConfigGetServerInfoRequest: self._server_info,
            ConfigGetConnectionTypeRequest: self._connection_type,
            ConfigGetButypeInfoRequest: self._butype_info,
            ConfigGetFsInfoRequest: self._fs_info,
            ConfigGetTapeInfoRequest: self._tape_info,
            ConfigGetScsiInfoRequest: self._scsi_info,
            ConfigGetExtListRequest: self._ext_list,
            ConfigSetExtListRequest: self._set_ext_list,
        }

    def perform(self, request: Message, *, authorized: bool = True) -> Reply:
        """The reply. Not ``authorized``: what a stranger may know."""
        if isinstance(request, ConfigGetServerInfoRequest):
            return self._server_info(request, authorized=authorized)
        return self._answers[type(request)](request)

    def _host_info(self, request: Message) -> Reply:
        system = os.uname()
        return ConfigGetHostInfoReply(hostname=socket.gethostname(), os_type=system.sysname,
                                      os_vers=system.release, hostid=hostid(self._settings.server.state_dir))

    def _server_info(self, request: Message, *, authorized: bool = True) -> Reply:
        """3.2.2: who has not logged in learns how to, and nothing else."""
        auth = tuple(_AUTH_TYPES[one] for one in self._settings.auth_types)
        if not authorized:
            return ConfigGetServerInfoReply(auth_type=auth)
        return ConfigGetServerInfoReply(vendor_name=VENDOR, product_name=PRODUCT, revision_number=revision(),
                                        auth_type=auth)

    def _connection_type(self, request: Message) -> Reply:
        return ConfigGetConnectionTypeReply(addr_types=(AddrType.LOCAL, AddrType.TCP))

    def _butype_info(self, request: Message) -> Reply:
        return ConfigGetButypeInfoReply(butype_info=tuple(
            ButypeInfo(name, _pvals(butype.default_env()), butype.attributes())
            for name, butype in self._butypes.items()))

    def _fs_info(self, request: Message) -> Reply:
        settings = self._settings
        disks = self._identities.of(
            {entry.disk for entry in settings.filesystem.values()
             if entry.path is None and entry.disk is not None and settings.disk[entry.disk].online})
        return ConfigGetFsInfoReply(fs_info=tuple(
            self._folder(name, entry) if entry.path is not None else self._disk(name, entry, disks)
            for name, entry in sorted(settings.filesystem.items())))

    def _folder(self, name: str, entry: Filesystem) -> FsInfo:
        """An export with a folder: the file system that the folder lies in."""
        place = mounted_on(str(entry.path))
        backup = self._suitable(entry)
        try:
            found = os.statvfs(str(entry.path))
        except OSError as error:
            return FsInfo(_NO_SIZES, place.type, name, place.source, 0, 0, 0, 0, 0,
                          _fs_env(place.type, place.local, "", ""), f"offline: {error.strerror}")
        block = found.f_frsize
        unsupported = FsInfoUnsupported(0)
        if not found.f_files:  # btrfs and others that make inodes as they need them
            unsupported = FsInfoUnsupported.TOTAL_INODES | FsInfoUnsupported.USED_INODES
        recovery = "" if found.f_flag & os.ST_RDONLY else backup
        return FsInfo(
            unsupported, place.type, name, place.source, total_size=found.f_blocks * block,
            used_size=(found.f_blocks - found.f_bfree) * block, avail_size=found.f_bavail * block,
            total_inodes=found.f_files, used_inodes=found.f_files - found.f_ffree,
            fs_env=_fs_env(place.type, place.local, backup, recovery), fs_status="online")

    def _disk(self, name: str, entry: Filesystem, disks: Mapping[str, Identity]) -> FsInfo:
        """An export that is a disk only: its capacity, and nothing is known of what is on it."""
        disk = str(entry.disk)
        capacity = disks[disk].capacity if disk in disks else None
        suitable = self._suitable(entry)
        device = str(self._settings.disk[disk].device)
        if capacity is None:
            nothing = _fs_env("disk", True, "", "")
            return FsInfo(_NO_SIZES, "disk", name, device, 0, 0, 0, 0, 0, nothing, "offline")
        unsupported = _NO_SIZES & ~FsInfoUnsupported.TOTAL_SIZE
        return FsInfo(unsupported, "disk", name, device, capacity.size, 0, 0, 0, 0,
                      _fs_env("disk", True, suitable, suitable), "online")

    def _suitable(self, entry: Filesystem) -> str:
        """The butypes that can work on an export, as AVAILABLE_BACKUP lists them."""
        return ",".join(name for name in self._butypes
                        if (entry.disk if name in _NEEDS_DISK else entry.path) is not None)

    def _tape_info(self, request: Message) -> Reply:
        """One entry for each drive. No rewinding device names; RAW opens without a cartridge (v4 only)."""
        attr = TapeAttr.RAW if self._version is Version.V4 else TapeAttr(0)
        return ConfigGetTapeInfoReply(tape_info=self._devices(self._settings.drive, attr, "t"))

    def _scsi_info(self, request: Message) -> Reply:
        return ConfigGetScsiInfoReply(scsi_info=self._devices(self._settings.changer, TapeAttr(0), "s"))

    def _devices(self, units: Mapping[str, Unit], attr: TapeAttr, execute_cdb: str) -> tuple[DeviceInfo, ...]:
        online = {name: unit for name, unit in units.items() if unit.online}
        known = self._identities.of(online)
        return tuple(_device(name, unit, known.get(name), attr, execute_cdb) for name, unit in online.items())

    def _ext_list(self, request: Message) -> Reply:
        return ConfigGetExtListReply()

    def _set_ext_list(self, request: ConfigSetExtListRequest) -> Reply:
        """There are no extensions, so every selection but the empty one is wrong in one way or another."""
        counts = Counter(one.ext_class_id for one in request.ndmp_selected_ext)
        if counts and max(counts.values()) > 1:
            return ConfigSetExtListReply(Error.EXT_DUPL_CLASSES)
        return ConfigSetExtListReply(Error.CLASS_NOT_SUPPORTED if counts else Error.NO_ERR)


def _device(name: str, unit: Unit, identity: Identity | None, attr: TapeAttr, execute_cdb: str) -> DeviceInfo:
    """Without an answer from the unit, what the configuration says of it."""
    serial = unit.serial or (identity.serial if identity else "")
    wwn = unit.wwn or (identity.name.partition(".")[2] if identity else "")
    capability = [("EXECUTE_CDB", execute_cdb), ("SERIAL_NUMBER", serial), ("WORLD_WIDE_NAME", wwn)]
    model = identity.model if identity else UNKNOWN_MODEL
    return DeviceInfo(model, (DeviceCapability(name, attr, _pvals(pair for pair in capability if pair[1])),))


def _fs_env(kind: str, local: bool, backup: str, recovery: str) -> tuple[Pval, ...]:
    pairs = [("LOCAL", "y" if local else "n"), ("TYPE", kind), ("AVAILABLE_BACKUP", backup),
             ("AVAILABLE_RECOVERY", recovery)]
    return _pvals(pair for pair in pairs if pair[1])


def _pvals(pairs: Iterable[tuple[str, str]]) -> tuple[Pval, ...]:
    """Variables, values cut to what DMAs can keep."""
    return tuple(Pval(name, value.encode("utf-8", "surrogateescape")[:_LONGEST_VALUE]
                      .decode("utf-8", "surrogateescape")) for name, value in pairs)


def revision() -> str:
    """The version of this software, as installed."""
    try:
        return importlib.metadata.version("ndmpd")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
