"""Byte ranges of the stream as requests state them: mover windows (3.6.2.2) and reads (3.6.2.5).

Offsets and lengths are in bytes. Arithmetic over records is ``window``'s; here is what may be asked for.
"""

from __future__ import annotations

from ndmpd.session.refused import Refused
from protocol.ndmp.codes import Error, MoverMode

ALL_ONES = (1 << 64) - 1
"""As a length: to the end of the stream."""


def to_the_end(offset: int, length: int) -> bool:
    """Whether the range is of maximum length: all ones less its offset, or, as ndmjob sends it, all ones."""
    return length == ALL_ONES or offset + length == ALL_ONES


def reach(offset: int, length: int) -> int:
    """``length`` for the services: all ones wherever the range has no end of its own.

    A window that was never set, or set to (0, 0), takes in the whole stream.
    """
    return ALL_ONES if to_the_end(offset, length) or length == 0 else length


def check_window(offset: int, length: int) -> None:
    """What holds for a window in every state: it does not overflow."""
    if length != ALL_ONES and offset + length > ALL_ONES:
        raise Refused(Error.ILLEGAL_ARGS, f"a window of {length} bytes from {offset} is longer than any "
                                          f"stream; use {ALL_ONES - offset} to reach the end")


def check_records(mode: MoverMode | int, record_size: int, offset: int, length: int, error: Error) -> None:
    """The window begins and ends with whole records as ``mode`` needs it, else refuse with ``error``.

    3.6.2.2: a backup counts by length, a recover starts at the offset. The last window of a recover may end
    inside a record.
    """
    if mode == MoverMode.READ and not to_the_end(offset, length) and length % record_size:
        raise Refused(error, f"a backup window of {length} bytes is not made of {record_size}-byte records")
    if mode == MoverMode.WRITE and offset % record_size:
        raise Refused(error, f"a recover window at {offset} does not begin with a {record_size}-byte record")


def check_read(offset: int, length: int) -> None:
    """3.6.2.5: a read is not empty and does not overflow; all ones belong to offset 0."""
    if length == 0:
        raise Refused(Error.ILLEGAL_ARGS, "a read of 0 bytes moves nothing; ask for at least one")
    if offset + length > ALL_ONES:
        raise Refused(Error.ILLEGAL_ARGS, f"a read of {length} bytes from {offset} is longer than any "
                                          f"stream; use {ALL_ONES - offset} to reach the end")
