"""libiscsi, loaded by cffi in ABI mode: its functions, constants, and what its SCSI task ends with.

Nothing is compiled: the declarations below are those of its public headers. Only ``struct scsi_task`` is
looked into, and its middle differs between releases, so that where its data lies is found out once, when the
library is loaded; a library that is laid out otherwise is refused. All calls let other threads run.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from cffi import FFI

from ndmpd.devices.errors import TransportError

NAMES = tuple(f"libiscsi.so.{number}" for number in (7, 8, 9, 10, 11))
"""What distributions call it; Debian 12 has the first (libiscsi 1.19)."""
READ, WRITE = 1, 2
DISCOVERY, NORMAL = 1, 2
NO_DIGEST, CRC32C = 0, 3
UNDERFLOW = 1
REDIRECT = 0x101
BROKEN = 0x0F000000
"""Statuses from here on are the library's own: cancelled, failed, timed out."""
COMPLETE, NO_SUCH_TASK = 0, 1
"""Responses to a task management function after which the task does not run (RFC 7143 11.6.1)."""
LONGEST_NAME = 223
"""Bytes of an iSCSI name (RFC 7143 4.2.7.1)."""

_DECLARATIONS = """
struct iscsi_context;
struct scsi_iovec { void *iov_base; size_t iov_len; };
struct scsi_task {
    int status; int cdb_size; int xfer_dir; int expxferlen; unsigned char cdb[16];
    int residual_status; size_t residual;
    ...;
};
struct iscsi_target_portal { struct iscsi_target_portal *next; const char *portal; };
struct iscsi_discovery_address {
    struct iscsi_discovery_address *next; const char *target_name; struct iscsi_target_portal *portals;
};
typedef void (*iscsi_command_cb)(struct iscsi_context *, int, void *, void *);

struct iscsi_context *iscsi_create_context(const char *initiator_name);
int iscsi_destroy_context(struct iscsi_context *);
const char *iscsi_get_error(struct iscsi_context *);
const char *iscsi_get_target_address(struct iscsi_context *);
int iscsi_set_targetname(struct iscsi_context *, const char *);
int iscsi_set_session_type(struct iscsi_context *, int);
int iscsi_set_header_digest(struct iscsi_context *, int);
int iscsi_set_initiator_username_pwd(struct iscsi_context *, const char *, const char *);
int iscsi_set_target_username_pwd(struct iscsi_context *, const char *, const char *);
int iscsi_set_isid_random(struct iscsi_context *, uint32_t, uint32_t);
void iscsi_set_noautoreconnect(struct iscsi_context *, int);
void iscsi_set_tcp_user_timeout(struct iscsi_context *, int);
int iscsi_get_fd(struct iscsi_context *);
int iscsi_which_events(struct iscsi_context *);
int iscsi_service(struct iscsi_context *, int);
int iscsi_queue_length(struct iscsi_context *);
int iscsi_out_queue_length(struct iscsi_context *);
int iscsi_disconnect(struct iscsi_context *);
int iscsi_connect_async(struct iscsi_context *, const char *, iscsi_command_cb, void *);
int iscsi_login_async(struct iscsi_context *, iscsi_command_cb, void *);
int iscsi_logout_async(struct iscsi_context *, iscsi_command_cb, void *);
int iscsi_discovery_async(struct iscsi_context *, iscsi_command_cb, void *);
int iscsi_nop_out_async(struct iscsi_context *, iscsi_command_cb, unsigned char *, int, void *);
int iscsi_scsi_command_async(struct iscsi_context *, int, struct scsi_task *, iscsi_command_cb,
                             void *, void *);
int iscsi_scsi_cancel_task(struct iscsi_context *, struct scsi_task *);
int iscsi_task_mgmt_abort_task_async(struct iscsi_context *, struct scsi_task *, iscsi_command_cb, void *);
struct scsi_task *scsi_create_task(int, unsigned char *, int, int);
void scsi_free_scsi_task(struct scsi_task *);
void scsi_set_task_private_ptr(struct scsi_task *, void *);
void scsi_task_set_iov_out(struct scsi_task *, struct scsi_iovec *, int);
void scsi_task_set_iov_in(struct scsi_task *, struct scsi_iovec *, int);
"""
_BEHIND_DATA = 24
"""Bytes from the data a task ended with (int, pointer) to its private pointer: one more pointer between."""
_LIKELY = (88, 96)
"""Where that private pointer lies in releases that are known."""


class Pending:
    """Something the library was asked for. ``status`` is None until it has ended. ``answer`` is what the
    library tells then, as far as ``take`` made a value of it, and ``reason`` what went wrong, in its words.
    """

    def __init__(self, take: Any = None) -> None:
        self.status: int | None = None
        self.answer: Any = None
        self.reason = ""
        self._take = take
        self.handle = ffi.new_handle(self)

    @property
    def ended(self) -> bool:
        return self.status is not None

    def end(self, status: int, data: Any) -> None:
        if self._take is not None and status < BROKEN and data != ffi.NULL:
            self.answer = self._take(data)
        self.status = status


def _make_ffi() -> FFI:
    made = FFI()
    # ABI mode knows no open-ended struct; only its head is declared, and none is ever made here.
    made.cdef(_DECLARATIONS.replace("    ...;\n", ""))
    return made


ffi = _make_ffi()


@ffi.callback("iscsi_command_cb")  # type: ignore[untyped-decorator, unused-ignore]
def ended(context: Any, status: int, data: Any, pending: Any) -> None:
    """The callback of every asynchronous function; its private data is the handle of a ``Pending``."""
    found = ffi.from_handle(pending)
    if status:
        # Said now or never: what the library does next may fail as well, and it keeps but one text.
        found.reason = library().error(context)
    found.end(status, data)


@dataclass(frozen=True, slots=True)
class Library:
    """``lib`` has the functions; ``data_at`` is where a task's data begins."""

    lib: Any
    data_at: int

    def data_of(self, task: Any) -> bytes:
        """What came with the end of ``task`` beside its buffers: the sense data segment."""
        base = ffi.cast("char *", task) + self.data_at
        size, pointer = ffi.cast("int *", base)[0], ffi.cast("char **", base + 8)[0]
        return bytes(ffi.buffer(pointer, size)) if size > 0 and pointer != ffi.NULL else b""

    def error(self, context: Any) -> str:
        """What the library says went wrong last."""
        return text(self.lib.iscsi_get_error(context)).strip()


def text(pointer: Any) -> str:
    """What a string of the library says."""
    return bytes(ffi.string(pointer)).decode("utf-8", "replace")


@cache
def library() -> Library:
    """Load it. TransportError, with the package to install, where that cannot be done."""
    for name in NAMES:
        try:
            lib = ffi.dlopen(name)
        except OSError:
            continue
        return Library(lib, _data_at(lib, name))
    raise TransportError("iSCSI devices need the library libiscsi, which is not installed; install it "
                         "(Debian: apt-get install libiscsi7)")


def _data_at(lib: Any, name: str) -> int:
    """Find a task's private pointer by setting it: its data lies right before."""
    task = lib.scsi_create_task(6, bytes(6), 0, 0)
    try:
        mark = 0x5AA5_C33C_1EE1_8778
        lib.scsi_set_task_private_ptr(task, ffi.cast("void *", mark))
        head = ffi.cast("char *", task)
        for at in _LIKELY:
            if ffi.cast("uint64_t *", head + at)[0] == mark:
                return at - _BEHIND_DATA
    finally:
        lib.scsi_free_scsi_task(task)
    raise TransportError(f"{name} is of a release whose tasks are laid out in an unknown way; install "
                         "libiscsi 1.19 or 1.20")
