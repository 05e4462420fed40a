"""Additional sense codes that tapes, changers, disks and copy managers give. SPC-4 annex F.

A code is ASC * 256 + ASCQ. ``Asc`` names those that the software acts on or answers with; ``NAMES`` has a
text for these and for others that people meet in logs.
"""

from __future__ import annotations

from enum import IntEnum


class Asc(IntEnum):
    NONE = 0x0000
    FILEMARK_DETECTED = 0x0001
    END_OF_MEDIUM = 0x0002
    BEGINNING_OF_MEDIUM = 0x0004
    END_OF_DATA = 0x0005
    OPERATION_IN_PROGRESS = 0x0016
    WRITE_ERROR = 0x0C00
    UNRECOVERED_READ_ERROR = 0x1100
    NOT_READY = 0x0400
    BECOMING_READY = 0x0401
    INITIALIZING_REQUIRED = 0x0402
    MANUAL_INTERVENTION = 0x0403
    UNREACHABLE_COPY_TARGET = 0x0804
    THIRD_PARTY_TEMPORARY_INITIATOR = 0x0D00
    THIRD_PARTY_DEVICE_FAILURE = 0x0D01
    COPY_TARGET_NOT_REACHABLE = 0x0D02
    INCORRECT_COPY_TARGET_TYPE = 0x0D03
    COPY_TARGET_UNDERRUN = 0x0D04
    COPY_TARGET_OVERRUN = 0x0D05
    SEQUENTIAL_POSITIONING_ERROR = 0x1501
    PARAMETER_LIST_LENGTH = 0x1A00
    INVALID_OPCODE = 0x2000
    LBA_OUT_OF_RANGE = 0x2100
    INVALID_ELEMENT_ADDRESS = 0x2101
    INVALID_FIELD_IN_CDB = 0x2400
    LUN_NOT_SUPPORTED = 0x2500
    INVALID_FIELD_IN_PARAMETERS = 0x2600
    PARAMETER_NOT_SUPPORTED = 0x2601
    PARAMETER_VALUE_INVALID = 0x2602
    INVALID_RELEASE = 0x2604
    TOO_MANY_TARGETS = 0x2606
    UNSUPPORTED_TARGET_TYPE = 0x2607
    TOO_MANY_SEGMENTS = 0x2608
    UNSUPPORTED_SEGMENT_TYPE = 0x2609
    UNEXPECTED_INEXACT_SEGMENT = 0x260A
    INLINE_DATA_LENGTH = 0x260B
    INVALID_COPY_OPERATION = 0x260C
    COPY_GRANULARITY = 0x260D
    COPY_NOT_AUTHORIZED = 0x2615
    WRITE_PROTECTED = 0x2700
    MEDIUM_MAY_HAVE_CHANGED = 0x2800
    IMPORT_EXPORT_ACCESSED = 0x2801
    POWER_ON = 0x2900
    POWER_ON_OCCURRED = 0x2901
    BUS_RESET = 0x2902
    DEVICE_RESET = 0x2903
    NEXUS_LOSS = 0x2907
    MODE_PARAMETERS_CHANGED = 0x2A01
    RESERVATIONS_PREEMPTED = 0x2A03
    RESERVATIONS_RELEASED = 0x2A04
    REGISTRATIONS_PREEMPTED = 0x2A05
    COMMAND_SEQUENCE = 0x2C00
    COMMANDS_CLEARED = 0x2F00
    COMMANDS_CLEARED_BY_POWER_LOSS = 0x2F01
    COMMANDS_CLEARED_BY_DEVICE_SERVER = 0x2F02
    INCOMPATIBLE_MEDIUM = 0x3000
    MEDIUM_FORMAT_CORRUPTED = 0x3100
    SAVING_NOT_SUPPORTED = 0x3900
    MEDIUM_NOT_PRESENT = 0x3A00
    MEDIUM_NOT_PRESENT_TRAY_OPEN = 0x3A02
    SEQUENTIAL_LIMITS = 0x3B00
    POSITION_AT_BEGINNING = 0x3B01
    DESTINATION_FULL = 0x3B0D
    SOURCE_EMPTY = 0x3B0E
    REPORTED_LUNS_CHANGED = 0x3F0E
    INTERNAL_FAILURE = 0x4400
    MEDIUM_REMOVAL_PREVENTED = 0x5302
    INSUFFICIENT_RESOURCES = 0x5503
    INSUFFICIENT_REGISTRATION_RESOURCES = 0x5504


NAMES: dict[int, str] = {
    Asc.FILEMARK_DETECTED: "filemark detected",
    Asc.END_OF_MEDIUM: "end of partition or medium detected",
    0x0003: "setmark detected",
    Asc.BEGINNING_OF_MEDIUM: "beginning of partition or medium detected",
    Asc.END_OF_DATA: "end of data detected",
    0x0006: "I/O process terminated",
    0x0007: "programmable early warning detected",
    Asc.OPERATION_IN_PROGRESS: "operation in progress",
    0x0017: "cleaning requested",
    0x0018: "erase operation in progress",
    0x0019: "locate operation in progress",
    0x001A: "rewind operation in progress",
    0x0300: "peripheral device write fault",
    0x0302: "excessive write errors",
    Asc.NOT_READY: "logical unit not ready, cause not reportable",
    Asc.BECOMING_READY: "logical unit is in process of becoming ready",
    Asc.INITIALIZING_REQUIRED: "logical unit not ready, initializing command required",
    Asc.MANUAL_INTERVENTION: "logical unit not ready, manual intervention required",
    0x0407: "logical unit not ready, operation in progress",
    0x0412: "logical unit not ready, offline",
    0x0800: "logical unit communication failure",
    0x0801: "logical unit communication time-out",
    Asc.UNREACHABLE_COPY_TARGET: "unreachable copy target",
    0x0900: "track following error",
    0x0A00: "error log overflow",
    0x0B01: "warning, specified temperature exceeded",
    Asc.WRITE_ERROR: "write error",
    0x0C03: "write error, recommend reassignment",
    Asc.THIRD_PARTY_TEMPORARY_INITIATOR: "error detected by third party temporary initiator",
    Asc.THIRD_PARTY_DEVICE_FAILURE: "third party device failure",
    Asc.COPY_TARGET_NOT_REACHABLE: "copy target device not reachable",
    Asc.INCORRECT_COPY_TARGET_TYPE: "incorrect copy target device type",
    Asc.COPY_TARGET_UNDERRUN: "copy target device data underrun",
    Asc.COPY_TARGET_OVERRUN: "copy target device data overrun",
    Asc.UNRECOVERED_READ_ERROR: "unrecovered read error",
    0x1101: "read retries exhausted",
    0x1108: "incomplete block read",
    0x1109: "no gap found",
    0x1400: "recorded entity not found",
    0x1401: "record not found",
    0x1402: "filemark not found",
    0x1403: "end of data not found",
    0x1404: "block sequence error",
    0x1500: "random positioning error",
    Asc.SEQUENTIAL_POSITIONING_ERROR: "mechanical positioning error",
    0x1502: "positioning error detected by read of medium",
    0x1700: "recovered data with no error correction applied",
    0x1800: "recovered data with error correction applied",
    Asc.PARAMETER_LIST_LENGTH: "parameter list length error",
    0x1B00: "synchronous data transfer error",
    0x1D00: "miscompare during verify operation",
    Asc.INVALID_OPCODE: "invalid command operation code",
    0x2002: "access denied, no access rights",
    Asc.LBA_OUT_OF_RANGE: "logical block address out of range",
    Asc.INVALID_ELEMENT_ADDRESS: "invalid element address",
    0x2300: "invalid token operation, cause not reportable",
    0x2301: "invalid token operation, unsupported token type",
    0x2302: "invalid token operation, remote token usage not supported",
    0x2303: "invalid token operation, remote ROD token creation not supported",
    0x2304: "invalid token operation, token unknown",
    0x2305: "invalid token operation, token corrupt",
    0x2306: "invalid token operation, token revoked",
    0x2307: "invalid token operation, token expired",
    0x2308: "invalid token operation, token cancelled",
    0x2309: "invalid token operation, token deleted",
    0x230A: "invalid token operation, invalid token length",
    Asc.INVALID_FIELD_IN_CDB: "invalid field in CDB",
    Asc.LUN_NOT_SUPPORTED: "logical unit not supported",
    Asc.INVALID_FIELD_IN_PARAMETERS: "invalid field in parameter list",
    Asc.PARAMETER_NOT_SUPPORTED: "parameter not supported",
    Asc.PARAMETER_VALUE_INVALID: "parameter value invalid",
    Asc.INVALID_RELEASE: "invalid release of persistent reservation",
    Asc.TOO_MANY_TARGETS: "too many target descriptors",
    Asc.UNSUPPORTED_TARGET_TYPE: "unsupported target descriptor type code",
    Asc.TOO_MANY_SEGMENTS: "too many segment descriptors",
    Asc.UNSUPPORTED_SEGMENT_TYPE: "unsupported segment descriptor type code",
    Asc.UNEXPECTED_INEXACT_SEGMENT: "unexpected inexact segment",
    Asc.INLINE_DATA_LENGTH: "inline data length exceeded",
    Asc.INVALID_COPY_OPERATION: "invalid operation for copy source or destination",
    Asc.COPY_GRANULARITY: "copy segment granularity violation",
    Asc.COPY_NOT_AUTHORIZED: "copy source or copy destination not authorized",
    Asc.WRITE_PROTECTED: "write protected",
    0x2701: "hardware write protected",
    0x2702: "logical unit software write protected",
    0x2704: "persistent write protect",
    0x2705: "permanent write protect",
    Asc.MEDIUM_MAY_HAVE_CHANGED: "not ready to ready change, medium may have changed",
    Asc.IMPORT_EXPORT_ACCESSED: "import or export element accessed",
    Asc.POWER_ON: "power on, reset, or bus device reset occurred",
    Asc.POWER_ON_OCCURRED: "power on occurred",
    Asc.BUS_RESET: "SCSI bus reset occurred",
    Asc.DEVICE_RESET: "bus device reset function occurred",
    0x2904: "device internal reset",
    Asc.NEXUS_LOSS: "I_T nexus loss occurred",
    0x2A00: "parameters changed",
    Asc.MODE_PARAMETERS_CHANGED: "mode parameters changed",
    0x2A02: "log parameters changed",
    Asc.RESERVATIONS_PREEMPTED: "reservations preempted",
    Asc.RESERVATIONS_RELEASED: "reservations released",
    Asc.REGISTRATIONS_PREEMPTED: "registrations preempted",
    Asc.COMMAND_SEQUENCE: "command sequence error",
    Asc.COMMANDS_CLEARED: "commands cleared by another initiator",
    Asc.COMMANDS_CLEARED_BY_POWER_LOSS: "commands cleared by power loss notification",
    Asc.COMMANDS_CLEARED_BY_DEVICE_SERVER: "commands cleared by device server",
    Asc.INCOMPATIBLE_MEDIUM: "incompatible medium installed",
    0x3001: "cannot read medium, unknown format",
    0x3002: "cannot read medium, incompatible format",
    0x3003: "cleaning cartridge installed",
    0x3005: "cannot write medium, incompatible format",
    Asc.MEDIUM_FORMAT_CORRUPTED: "medium format corrupted",
    0x3300: "tape length error",
    Asc.SAVING_NOT_SUPPORTED: "saving parameters not supported",
    Asc.MEDIUM_NOT_PRESENT: "medium not present",
    0x3A01: "medium not present, tray closed",
    Asc.MEDIUM_NOT_PRESENT_TRAY_OPEN: "medium not present, tray open",
    0x3A03: "medium not present, loadable",
    Asc.SEQUENTIAL_LIMITS: "sequential positioning error",
    Asc.POSITION_AT_BEGINNING: "tape position error at beginning of medium",
    0x3B02: "tape position error at end of medium",
    0x3B08: "reposition error",
    Asc.DESTINATION_FULL: "medium destination element full",
    Asc.SOURCE_EMPTY: "medium source element empty",
    0x3B11: "medium magazine not accessible",
    0x3B12: "medium magazine removed",
    0x3E00: "logical unit has not self-configured yet",
    0x3E01: "logical unit failure",
    0x3F01: "microcode has been changed",
    0x3F03: "inquiry data has changed",
    Asc.REPORTED_LUNS_CHANGED: "reported LUNs data has changed",
    Asc.INTERNAL_FAILURE: "internal target failure",
    0x4700: "SCSI parity error",
    0x4800: "initiator detected error message received",
    0x4B00: "data phase error",
    0x4E00: "overlapped commands attempted",
    0x5000: "write append error",
    0x5001: "write append position error",
    0x5100: "erase failure",
    0x5200: "cartridge fault",
    0x5300: "media load or eject failed",
    0x5301: "unload tape failure",
    Asc.MEDIUM_REMOVAL_PREVENTED: "medium removal prevented",
    Asc.INSUFFICIENT_RESOURCES: "insufficient resources",
    Asc.INSUFFICIENT_REGISTRATION_RESOURCES: "insufficient registration resources",
    0x5A01: "operator medium removal request",
    0x5D00: "failure prediction threshold exceeded",
    0x8282: "drive requires cleaning",
}
