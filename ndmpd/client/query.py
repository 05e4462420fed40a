"""What a server says about itself: everything behind ``ndmpc query``, as plain values ready for JSON."""

from __future__ import annotations

from typing import Any, TypeVar

from ndmpd.client.connection import Connection
from ndmpd.client.errors import Refused
from protocol.ndmp.codes import ButypeAttr, Code, FsInfoUnsupported, TapeAttr
from protocol.ndmp.config import (
    ConfigGetButypeInfoReply,
    ConfigGetButypeInfoRequest,
    ConfigGetConnectionTypeReply,
    ConfigGetConnectionTypeRequest,
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
    DeviceInfo,
    FsInfo,
)
from protocol.ndmp.message import Message, Pval, Reply

R = TypeVar("R", bound=Reply)


def names(values: tuple[int, ...]) -> list[str]:
    return [getattr(each, "name", str(each)) for each in values]


def mapping(pairs: tuple[Pval, ...]) -> dict[str, str]:
    return {each.name: each.value for each in pairs}


def query(connection: Connection) -> dict[str, Any]:
    """Ask everything. What the server does not answer is named under ``refused``."""
    refused: dict[str, str] = {}

    def ask(code: Code, request: Message, reply: type[R]) -> R:
        try:
            return connection.call(code, request, reply)
        except Refused as refusal:
            refused[code.name] = str(getattr(refusal.error, "name", refusal.error))
            return reply()

    host = ask(Code.CONFIG_GET_HOST_INFO, ConfigGetHostInfoRequest(), ConfigGetHostInfoReply)
    server = ask(Code.CONFIG_GET_SERVER_INFO, ConfigGetServerInfoRequest(), ConfigGetServerInfoReply)
    addresses = ask(Code.CONFIG_GET_CONNECTION_TYPE, ConfigGetConnectionTypeRequest(),
                    ConfigGetConnectionTypeReply)
    butypes = ask(Code.CONFIG_GET_BUTYPE_INFO, ConfigGetButypeInfoRequest(), ConfigGetButypeInfoReply)
    systems = ask(Code.CONFIG_GET_FS_INFO, ConfigGetFsInfoRequest(), ConfigGetFsInfoReply)
    tapes = ask(Code.CONFIG_GET_TAPE_INFO, ConfigGetTapeInfoRequest(), ConfigGetTapeInfoReply)
    changers = ask(Code.CONFIG_GET_SCSI_INFO, ConfigGetScsiInfoRequest(), ConfigGetScsiInfoReply)
    return {
        "server": connection.place,
        "ndmp_version": int(connection.version),
        "host": {"name": host.hostname, "os": host.os_type, "version": host.os_vers, "id": host.hostid},
        "product": {"vendor": server.vendor_name, "name": server.product_name,
                    "revision": server.revision_number, "auth": names(server.auth_type)},
        "addresses": names(addresses.addr_types),
        "butypes": [{"name": each.butype_name, "attributes": attributes(each.attrs),
                     "environment": mapping(each.default_env)} for each in butypes.butype_info],
        "filesystems": [_filesystem(each) for each in systems.fs_info],
        "tapes": _devices(tapes.tape_info, tape=True),
        "changers": _devices(changers.scsi_info, tape=False),
        "refused": refused,
    }


def attributes(value: ButypeAttr | TapeAttr) -> list[str]:
    return [each.name for each in type(value) if each & value and each.name]


def _filesystem(info: FsInfo) -> dict[str, Any]:
    def known(field: FsInfoUnsupported, value: int) -> int | None:
        return None if info.unsupported & field else value

    return {
        "name": info.fs_logical_device, "type": info.fs_type, "device": info.fs_physical_device,
        "total": known(FsInfoUnsupported.TOTAL_SIZE, info.total_size),
        "used": known(FsInfoUnsupported.USED_SIZE, info.used_size),
        "available": known(FsInfoUnsupported.AVAIL_SIZE, info.avail_size),
        "inodes": known(FsInfoUnsupported.TOTAL_INODES, info.total_inodes),
        "inodes_used": known(FsInfoUnsupported.USED_INODES, info.used_inodes),
        "environment": mapping(info.fs_env), "status": info.fs_status,
    }


def _devices(models: tuple[DeviceInfo, ...], tape: bool) -> list[dict[str, Any]]:
    found = []
    for model in models:
        for each in model.caplist:
            device: dict[str, Any] = {"name": each.device, "model": model.model,
                                      "capabilities": mapping(each.capability)}
            if tape:
                device["attributes"] = attributes(each.attr)
            found.append(device)
    return found
