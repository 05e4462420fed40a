"""Every number against the list of the draft and of version 3: none missing, none wrong, none invented."""

from __future__ import annotations

from enum import IntEnum

import pytest

from protocol.ndmp import codes
from tests.protocol.ndmp.golden import FOLDER

# Our enum, the draft's (without the prefix of its version; "const" for lone constants), and what its names
# have in front and behind.
NAMES: list[tuple[type[IntEnum], str, str, str]] = [
    (codes.MessageType, "header_message_type", "MESSAGE_", ""),
    (codes.Code, "message", "", ""),
    (codes.Error, "error", "", "_ERR"),
    (codes.AuthType, "auth_type", "AUTH_", ""),
    (codes.AddrType, "addr_type", "ADDR_", ""),
    (codes.ButypeAttr, "const", "BUTYPE_", ""),
    (codes.FsInfoUnsupported, "const", "FS_INFO_", "_UNS"),
    (codes.TapeAttr, "const", "TAPE_ATTR_", ""),
    (codes.ScsiDataDir, "const", "SCSI_", ""),
    (codes.TapeOpenMode, "tape_open_mode", "TAPE_", "_MODE"),
    (codes.TapeUnsupported, "const", "TAPE_STATE_", "_UNS"),
    (codes.TapeFlags, "const", "TAPE_STATE_", ""),
    (codes.TapeMtioOp, "tape_mtio_op", "MTIO_", ""),
    (codes.DataOperation, "data_operation", "DATA_OP_", ""),
    (codes.DataState, "data_state", "DATA_STATE_", ""),
    (codes.DataHaltReason, "data_halt_reason", "DATA_HALT_", ""),
    (codes.DataUnsupported, "const", "DATA_STATE_", "_UNS"),
    (codes.MoverMode, "mover_mode", "MOVER_MODE_", ""),
    (codes.MoverState, "mover_state", "MOVER_STATE_", ""),
    (codes.MoverPauseReason, "mover_pause_reason", "MOVER_PAUSE_", ""),
    (codes.MoverHaltReason, "mover_halt_reason", "MOVER_HALT_", ""),
    (codes.ConnectionStatusReason, "connection_status_reason", "", ""),
    (codes.LogType, "log_type", "LOG_", ""),
    (codes.HasAssociatedMessage, "has_associated_message", "", ""),
    (codes.RecoveryStatus, "recovery_status", "RECOVERY_", ""),
    (codes.FsType, "fs_type", "FS_", ""),
    (codes.FileType, "file_type", "FILE_", ""),
    (codes.FileStatUnsupported, "const", "FILE_STAT_", "_UNS"),
]

V3_NAMES = {  # where version 3 has another word for the same
    "connect_reason": "connection_status_reason",
    "NOTIFY_CONNECTED": "NOTIFY_CONNECTION_STATUS",
    "DATA_OP_RESTORE": "DATA_OP_RECOVER",
    "DATA_OP_RESTORE_FILEHIST": "DATA_OP_RECOVER_FILEHIST",
}

NOT_OURS = {
    "EXT_STANDARD_BASE", "EXT_PROPRIETARY_BASE", "VENDORS_BASE", "RESERVED_BASE",  # ranges, not messages
    "BUTYPE_BACKUP_FILE_HISTORY", "BUTYPE_RECOVER_FILE_HISTORY",  # translated: config.V3_HISTORY_ATTRS
    "TAPE_STATE_RESERVED1_UNS",  # version 3's PARTITION
    "VER", "PORT",
}


def _numbers() -> dict[tuple[str, str], int]:
    """(enum, name) without the prefixes of the versions: number."""
    found = {}
    for line in (FOLDER / "numbers.tsv").read_text("ascii").splitlines():
        if line and not line.startswith("#"):
            kind, name, number = line.split("\t")
            kind = kind.removeprefix("ndmp_").removeprefix("ndmp3_")
            name = name.removeprefix("NDMP_").removeprefix("NDMP3").removeprefix("_")
            name = name.replace("_INVALID", "_UNS")
            kind, name = V3_NAMES.get(kind, kind), V3_NAMES.get(name, name)
            assert found.setdefault((kind, name), int(number, 0)) == int(number, 0), name
    return found


NUMBERS = _numbers()


@pytest.mark.parametrize(("ours", "kind", "before", "behind"), NAMES)
def test_members_have_the_numbers_of_the_draft(
    ours: type[IntEnum], kind: str, before: str, behind: str,
) -> None:
    for name, member in ours.__members__.items():
        if kind == "const" and name == "NONE":
            continue  # no bit set
        spelled = [(where, f"{before}{name}{end}") for where in (kind, "const") for end in (behind, "")]
        numbers = [NUMBERS[key] for key in spelled if key in NUMBERS]
        assert numbers, f"{ours.__name__}.{name} is in no version"
        assert numbers[0] == member, f"{ours.__name__}.{name}"


def test_no_number_of_either_version_is_missing() -> None:
    ours = {
        (where, f"{before}{name}{end}")
        for cls, kind, before, behind in NAMES
        for name in cls.__members__
        for where in (kind, "const")
        for end in (behind, "")
    }
    assert {name for kind, name in NUMBERS if (kind, name) not in ours} == NOT_OURS
