"""POSIX access control lists: the kernel's attribute (``system.posix_acl_*``) and the text that tar streams
hold.

The text is that of acl_to_text(3), one entry a line, users and groups by number; star's fourth field and
names are understood on the way back. ``linux/posix_acl_xattr.h`` has the layout of the attribute.
"""

from __future__ import annotations

import grp
import pwd
import struct

ACCESS = "system.posix_acl_access"
DEFAULT = "system.posix_acl_default"

_HEAD = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")
_VERSION = 2
_NOBODY = 0xFFFFFFFF
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_WORDS = {_USER_OBJ: "user", _USER: "user", _GROUP_OBJ: "group", _GROUP: "group", _MASK: "mask",
          _OTHER: "other"}
_TAGS = {"user": (_USER_OBJ, _USER), "u": (_USER_OBJ, _USER), "group": (_GROUP_OBJ, _GROUP),
         "g": (_GROUP_OBJ, _GROUP), "mask": (_MASK, _MASK), "m": (_MASK, _MASK), "other": (_OTHER, _OTHER),
         "o": (_OTHER, _OTHER)}
_BITS = {"r": 4, "w": 2, "x": 1, "-": 0}
MAX_ENTRIES = 4096


def to_text(attribute: bytes) -> bytes:
    """The text of an ACL. ValueError where the attribute is not one."""
    if len(attribute) < _HEAD.size or (len(attribute) - _HEAD.size) % _ENTRY.size \
            or _HEAD.unpack_from(attribute)[0] != _VERSION:
        raise ValueError("not a POSIX ACL")
    lines = []
    for tag, bits, who in _ENTRY.iter_unpack(attribute[_HEAD.size:]):
        word = _WORDS.get(tag)
        if word is None:
            raise ValueError(f"a POSIX ACL has an entry of kind {tag:#x}")
        name = str(who) if tag in (_USER, _GROUP) else ""
        rights = "".join(letter if bits & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))
        lines.append(f"{word}:{name}:{rights}\n")
    return "".join(lines).encode("ascii")


def from_text(text: bytes) -> bytes:
    """The attribute for an ACL's text. ValueError where it cannot be understood, or names an unknown user."""
    entries: list[tuple[int, int, int]] = []
    for line in text.decode("utf-8", "surrogateescape").replace(",", "\n").split("\n"):
        entry = line.split("#", 1)[0].strip()
        if not entry:
            continue
        if len(entries) == MAX_ENTRIES:
            raise ValueError(f"an ACL has more than {MAX_ENTRIES} entries")
        entries.append(_entry(entry))
    entries.sort()
    return _HEAD.pack(_VERSION) + b"".join(
        _ENTRY.pack(tag, bits, _NOBODY if who < 0 else who) for tag, who, bits in entries)


def _entry(entry: str) -> tuple[int, int, int]:
    """(tag, id or -1, permission bits)."""
    fields = [field.strip() for field in entry.split(":")]
    if len(fields) == 2:  # "mask:rwx", "other:r--"
        fields.insert(1, "")
    if len(fields) not in (3, 4) or fields[0] not in _TAGS:
        raise ValueError(f"{entry!r} is not an ACL entry")
    own, other = _TAGS[fields[0]]
    tag = other if fields[1] else own
    bits = 0
    for letter in fields[2]:
        if letter not in _BITS:
            raise ValueError(f"{entry!r} is not an ACL entry")
        bits |= _BITS[letter]
    if not fields[1]:
        return tag, -1, bits
    if len(fields) == 4 and fields[3]:
        return tag, _id(fields[3]), bits
    return tag, _lookup(fields[1], tag), bits


def _id(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text[:11]) >= _NOBODY:
        raise ValueError(f"{text!r} is not a user or group number")
    return int(text)


def _lookup(name: str, tag: int) -> int:
    if name.isascii() and name.isdigit():
        return _id(name)
    try:
        return pwd.getpwnam(name).pw_uid if tag == _USER else grp.getgrnam(name).gr_gid
    except KeyError:
        raise ValueError(f"an ACL names {name!r}, whom this system does not know") from None
