"""Extended attributes, POSIX ACLs among them, as pax records and back.

One listxattr call tells of both. Capabilities are the attribute ``security.capability``. Attributes are
restored after the owner (a change of owner clears capabilities) and before the mode and the times.
"""

from __future__ import annotations

import errno
import os

from ndmpd.formats import acls
from ndmpd.formats.tally import Tally
from protocol.streams import pax
from protocol.streams.tarentry import Entry, Records

_ACL_KEYS = {acls.ACCESS: b"SCHILY.acl.access", acls.DEFAULT: b"SCHILY.acl.default"}
MAX_BYTES = pax.MAX_HEADER // 2
"""Attributes of one file, at most; XFS alone could hold more than an extended header may."""


def of(file: int | str, names: list[str], path: bytes, tally: Tally, *, with_acls: bool) -> Records:
    """The records for the attributes ``names`` of a file, sorted. ``file``: descriptor, or its path in
    /proc.
    """
    found: Records = []
    total = 0
    for name in sorted(names):
        keyword = _ACL_KEYS.get(name)
        if keyword and not with_acls:
            continue
        try:
            value = os.getxattr(file, name)
            if keyword:
                record = keyword, acls.to_text(value)
            else:
                record = pax.attribute(os.fsencode(name), value)
        except OSError as error:
            if error.errno != errno.ENODATA:  # removed meanwhile
                tally.attribute(path, f"attribute {name} not saved", error.strerror or str(error))
            continue
        except ValueError as error:
            tally.attribute(path, f"attribute {name} not saved", str(error))
            continue
        total += len(record[0]) + len(record[1]) + 32
        if total > MAX_BYTES:
            tally.attribute(path, "attributes not saved", f"the file has more than {MAX_BYTES} bytes of them")
            break
        found.append(record)
    return found


def has_any(entry: Entry) -> bool:
    """Whether ``entry`` carries attributes at all."""
    return any(keyword.startswith(b"SCHILY.") for keyword in entry.records)


def restore(file: int | str, entry: Entry, path: bytes, tally: Tally, *, with_acls: bool) -> None:
    """Set the attributes of ``entry``; what cannot be set is counted and the rest goes on."""
    for raw, content in sorted(pax.attributes(entry.records).items()):
        _set(file, os.fsdecode(raw), content, path, tally)
    if not with_acls:
        return
    for name, keyword in _ACL_KEYS.items():
        text = entry.records.get(keyword)
        if not text:
            continue
        try:
            value = acls.from_text(text)
        except ValueError as error:
            tally.attribute(path, "ACL not restored", str(error))
            continue
        _set(file, name, value, path, tally)


def drop_acls(file: int | str, name: str) -> None:
    """Take away an ACL that was inherited from the folder; nothing where there is none."""
    try:
        os.removexattr(file, name)
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise


def has_default_acl(folder: int) -> bool:
    """Whether what is made in ``folder`` inherits an ACL."""
    try:
        os.getxattr(folder, acls.DEFAULT)
    except OSError:
        return False
    return True


def _set(file: int | str, name: str, value: bytes, path: bytes, tally: Tally) -> None:
    if "\0" in name or not name:
        tally.attribute(path, "attribute not restored", "its name is empty or has a NUL in it")
        return
    try:
        os.setxattr(file, name, value)
    except OSError as error:
        tally.attribute(path, f"attribute {name} not restored", error.strerror or str(error))
