"""Numbers of the protocol: message codes, errors, states, reasons, attribute bits.

Members bear the draft's names without their common prefix. A comment marks what only one version has; a
clause number is the draft's (NDMP version 4, draft-skardal-ndmpv4-04). How they stand on the wire, and what
version 3 is told where it lacks a member, is in ``forms``.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag


class Version(IntEnum):
    """Protocol versions spoken here."""

    V3 = 3
    V4 = 4


class MessageType(IntEnum):
    """2.7. A post is a request that gets no reply."""

    REQUEST = 0
    REPLY = 1
    POST = 0


class Code(IntEnum):
    """2.9. Codes from 0x10000 belong to extensions (version 3: from 0xf000)."""

    CONFIG_GET_HOST_INFO = 0x100
    CONFIG_GET_CONNECTION_TYPE = 0x102
    CONFIG_GET_AUTH_ATTR = 0x103
    CONFIG_GET_BUTYPE_INFO = 0x104
    CONFIG_GET_FS_INFO = 0x105
    CONFIG_GET_TAPE_INFO = 0x106
    CONFIG_GET_SCSI_INFO = 0x107
    CONFIG_GET_SERVER_INFO = 0x108
    CONFIG_SET_EXT_LIST = 0x109  # v4
    CONFIG_GET_EXT_LIST = 0x10A  # v4
    SCSI_OPEN = 0x200
    SCSI_CLOSE = 0x201
    SCSI_GET_STATE = 0x202
    SCSI_SET_TARGET = 0x203  # v3
    SCSI_RESET_DEVICE = 0x204
    SCSI_RESET_BUS = 0x205  # v3
    SCSI_EXECUTE_CDB = 0x206
    TAPE_OPEN = 0x300
    TAPE_CLOSE = 0x301
    TAPE_GET_STATE = 0x302
    TAPE_MTIO = 0x303
    TAPE_WRITE = 0x304
    TAPE_READ = 0x305
    TAPE_EXECUTE_CDB = 0x307
    DATA_GET_STATE = 0x400
    DATA_START_BACKUP = 0x401
    DATA_START_RECOVER = 0x402
    DATA_ABORT = 0x403
    DATA_GET_ENV = 0x404
    DATA_STOP = 0x407
    DATA_LISTEN = 0x409
    DATA_CONNECT = 0x40A
    DATA_START_RECOVER_FILEHIST = 0x40B
    NOTIFY_DATA_HALTED = 0x501
    NOTIFY_CONNECTION_STATUS = 0x502  # v3: NOTIFY_CONNECTED
    NOTIFY_MOVER_HALTED = 0x503
    NOTIFY_MOVER_PAUSED = 0x504
    NOTIFY_DATA_READ = 0x505
    LOG_FILE = 0x602
    LOG_MESSAGE = 0x603
    FH_ADD_FILE = 0x703
    FH_ADD_DIR = 0x704
    FH_ADD_NODE = 0x705
    CONNECT_OPEN = 0x900
    CONNECT_CLIENT_AUTH = 0x901
    CONNECT_CLOSE = 0x902
    CONNECT_SERVER_AUTH = 0x903
    MOVER_GET_STATE = 0xA00
    MOVER_LISTEN = 0xA01
    MOVER_CONTINUE = 0xA02
    MOVER_ABORT = 0xA03
    MOVER_STOP = 0xA04
    MOVER_SET_WINDOW = 0xA05
    MOVER_READ = 0xA06
    MOVER_CLOSE = 0xA07
    MOVER_SET_RECORD_SIZE = 0xA08
    MOVER_CONNECT = 0xA09


class Error(IntEnum):
    """2.8.1, without the suffix ``_ERR``."""

    NO_ERR = 0
    NOT_SUPPORTED = 1
    DEVICE_BUSY = 2
    DEVICE_OPENED = 3
    NOT_AUTHORIZED = 4
    PERMISSION = 5
    DEV_NOT_OPEN = 6
    IO = 7
    TIMEOUT = 8
    ILLEGAL_ARGS = 9
    NO_TAPE_LOADED = 10
    WRITE_PROTECT = 11
    EOF = 12
    EOM = 13
    FILE_NOT_FOUND = 14
    BAD_FILE = 15
    NO_DEVICE = 16
    NO_BUS = 17
    XDR_DECODE = 18
    ILLEGAL_STATE = 19
    UNDEFINED = 20
    XDR_ENCODE = 21
    NO_MEM = 22
    CONNECT = 23
    SEQUENCE_NUM = 24  # this and the rest: v4
    READ_IN_PROGRESS = 25
    PRECONDITION = 26
    CLASS_NOT_SUPPORTED = 27
    VERSION_NOT_SUPPORTED = 28
    EXT_DUPL_CLASSES = 29
    EXT_DANDN_ILLEGAL = 30


class AuthType(IntEnum):
    """3.1.2."""

    NONE = 0
    TEXT = 1
    MD5 = 2


class AddrType(IntEnum):
    """3.2.3. Where DATA and MOVER meet."""

    LOCAL = 0
    TCP = 1
    RESERVED = 2
    FC = 2  # v3
    IPC = 3


class ButypeAttr(IntFlag):
    """3.2.5. Version 3 has two history bits instead of the last five (``config.V3_HISTORY_ATTRS``)."""

    BACKUP_FILELIST = 0x0002
    RECOVER_FILELIST = 0x0004
    BACKUP_DIRECT = 0x0008
    RECOVER_DIRECT = 0x0010
    BACKUP_INCREMENTAL = 0x0020
    RECOVER_INCREMENTAL = 0x0040
    BACKUP_UTF8 = 0x0080
    RECOVER_UTF8 = 0x0100
    BACKUP_FH_FILE = 0x0200
    BACKUP_FH_DIR = 0x0400
    RECOVER_FILEHIST = 0x0800
    RECOVER_FH_FILE = 0x1000
    RECOVER_FH_DIR = 0x2000


class FsInfoUnsupported(IntFlag):
    """3.2.6. Fields of ``FsInfo`` that carry no value."""

    NONE = 0
    TOTAL_SIZE = 0x01
    USED_SIZE = 0x02
    AVAIL_SIZE = 0x04
    TOTAL_INODES = 0x08
    USED_INODES = 0x10


class TapeAttr(IntFlag):
    """3.2.7. What opening and closing this device name does, or what it is for."""

    NONE = 0
    REWIND = 0x1
    UNLOAD = 0x2
    RAW = 0x4  # v4


class ScsiDataDir(IntFlag):
    """3.3.5. Direction of a CDB's data."""

    NONE = 0
    DATA_IN = 0x1
    DATA_OUT = 0x2


class TapeOpenMode(IntEnum):
    """3.4.2, without the suffix ``_MODE``."""

    READ = 0
    RDWR = 1
    RAW = 2  # v4


class TapeFlags(IntFlag):
    """3.4.4 (``NDMP_TAPE_STATE_``)."""

    NONE = 0
    NOREWIND = 0x08
    WR_PROT = 0x10
    ERROR = 0x20
    UNLOAD = 0x40


class TapeUnsupported(IntFlag):
    """3.4.4. Fields of the tape state that carry no value."""

    NONE = 0
    FILE_NUM = 0x01
    SOFT_ERRORS = 0x02
    BLOCK_SIZE = 0x04
    BLOCKNO = 0x08
    TOTAL_SPACE = 0x10
    SPACE_REMAIN = 0x20
    PARTITION = 0x40  # v3; v4 keeps the bit reserved


class TapeMtioOp(IntEnum):
    """3.4.5."""

    FSF = 0
    BSF = 1
    FSR = 2
    BSR = 3
    REW = 4
    EOF = 5
    OFF = 6
    TUR = 7  # v4


class DataOperation(IntEnum):
    """3.5.1.1."""

    NOACTION = 0
    BACKUP = 1
    RECOVER = 2
    RECOVER_FILEHIST = 3


class DataState(IntEnum):
    """3.5.1.1."""

    IDLE = 0
    ACTIVE = 1
    HALTED = 2
    LISTEN = 3
    CONNECTED = 4


class DataHaltReason(IntEnum):
    """3.5.1.1."""

    NA = 0
    SUCCESSFUL = 1
    ABORTED = 2
    INTERNAL_ERROR = 3
    CONNECT_ERROR = 4


class DataUnsupported(IntFlag):
    """3.5.2.6. Fields of the data state that carry no value."""

    NONE = 0
    EST_BYTES_REMAIN = 0x1
    EST_TIME_REMAIN = 0x2


class MoverMode(IntEnum):
    """3.6.1.1. Seen from the data connection: READ reads it and writes the tape."""

    READ = 0
    WRITE = 1
    NOACTION = 2  # v4


class MoverState(IntEnum):
    """3.6.1.1."""

    IDLE = 0
    LISTEN = 1
    ACTIVE = 2
    PAUSED = 3
    HALTED = 4


class MoverPauseReason(IntEnum):
    """3.6.1.1."""

    NA = 0
    EOM = 1
    EOF = 2
    SEEK = 3
    MEDIA_ERROR = 4  # v3
    EOW = 5


class MoverHaltReason(IntEnum):
    """3.6.1.1."""

    NA = 0
    CONNECT_CLOSED = 1
    ABORTED = 2
    INTERNAL_ERROR = 3
    CONNECT_ERROR = 4
    MEDIA_ERROR = 5  # v4


class ConnectionStatusReason(IntEnum):
    """4.1.2."""

    CONNECTED = 0
    SHUTDOWN = 1
    REFUSED = 2


class LogType(IntEnum):
    """4.2.1."""

    NORMAL = 0
    DEBUG = 1
    ERROR = 2
    WARNING = 3


class HasAssociatedMessage(IntEnum):
    """4.2.1. Whether ``associated_message_sequence`` names a request. v4."""

    NO_ASSOCIATED_MESSAGE = 0
    HAS_ASSOCIATED_MESSAGE = 1


class RecoveryStatus(IntEnum):
    """4.2.2. Version 3 sends an ``Error`` instead (``log.V3_RECOVERY_ERRORS``)."""

    SUCCESSFUL = 0
    FAILED_PERMISSION = 1
    FAILED_NOT_FOUND = 2
    FAILED_NO_DIRECTORY = 3
    FAILED_OUT_OF_MEMORY = 4
    FAILED_IO_ERROR = 5
    FAILED_UNDEFINED_ERROR = 6
    FAILED_FILE_PATH_EXISTS = 7


class FsType(IntEnum):
    """4.3. Whose naming and attributes a history entry carries."""

    UNIX = 0
    NT = 1
    OTHER = 2


class FileType(IntEnum):
    """4.3."""

    DIR = 0
    FIFO = 1
    CSPEC = 2
    BSPEC = 3
    REG = 4
    SLINK = 5
    SOCK = 6
    REGISTRY = 7
    OTHER = 8


class FileStatUnsupported(IntFlag):
    """4.3. Fields of ``FileStat`` that carry no value."""

    NONE = 0
    ATIME = 0x1
    CTIME = 0x2
    GROUP = 0x4
