"""Tar streams made to do harm: names that climb, links that lead away, sizes and maps that lie."""

from __future__ import annotations

import os
import random

from protocol.errors import WireError
from protocol.streams import pax, tar, tarentry
from protocol.streams.tar import Type

NAMES = (b"a", b"a/", b"a/b", b"a/b/c", b"way", b"way/", b"way/file", b"way/precious", b"../outside/precious",
         b"..", b"/etc/x", b"./a", b"a/../a", b"a//b", b"", b".", b"n" * 255, b"n" * 256, b"d/" * 200 + b"x",
         b"\xff\xfe", b"new\nline", b"swapped", b"swapped/precious", b"swapped/new", b"swapped/deep/er")
LINKS = (b"../outside", b"../outside/precious", b"/", b"/etc/passwd", b".", b"..", b"a", b"way/precious",
         b"way", b"", b"../dest/a", b"/proc/self/root", b"swapped/precious", b"x" * 5000)
SIZES = (0, 1, 511, 512, 513, 1 << 20, 1 << 32, (1 << 33) - 1, 0o77777777777, 1 << 62, (1 << 63) - 1, 1 << 63)
MAPS = (b"1\n0\n512\n", b"0\n", b"1\n0\n99999999\n", b"2\n100\n10\n50\n10\n", b"1\n9223372036854775807\n1\n",
        b"1\n1099511627776\n512\n", b"99999999\n", b"-1\n", b"1\n\n1\n", b"2\n0\n256\n1048576\n256\n")
KINDS = (Type.REGULAR, Type.REGULAR, Type.REGULAR, Type.FOLDER, Type.FOLDER, Type.SYMLINK, Type.SYMLINK,
         Type.LINK, Type.FIFO, Type.CHARACTER, Type.BLOCK, Type.GNU_SPARSE, Type.GNU_DUMPDIR, Type.CONTIGUOUS)
ATTRIBUTES = (b"user.a", b"user." + b"n" * 260, b"", b"nonsense", b"trusted.overlay.opaque",
              b"security.capability", b"security.selinux", b"system.posix_acl_access", b"user.a=b%",
              b"user.\xff", b"user.x\ny")


def stream(chance: random.Random) -> bytes:
    """A whole tar stream of a few entries, its headers well summed."""
    parts = [_entry(chance) for _ in range(chance.randint(2, 14))]
    end = tar.END if chance.random() < 0.9 else b""
    return b"".join(parts) + end


def _entry(chance: random.Random) -> bytes:
    kind = chance.choice(KINDS)
    data = chance.randbytes(chance.choice((0, 0, 5, 512, 3000, 200_000)))
    size = len(data) if chance.random() < 0.9 else chance.choice(SIZES)
    records: list[tuple[bytes, bytes]] = []
    if chance.random() < 0.3:
        value = chance.randbytes(chance.choice((0, 3, 2000)))
        records.append(pax.attribute(chance.choice(ATTRIBUTES), value))
    if chance.random() < 0.15:
        records += [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"),
                    (b"GNU.sparse.realsize", b"%d" % chance.choice(SIZES))]
        data = chance.choice(MAPS).ljust(512, b"\0") + data
        size = len(data)
    if chance.random() < 0.1:
        records.append((chance.choice((b"path", b"linkpath")), chance.choice(NAMES + LINKS)))
    if chance.random() < 0.1:
        value = chance.choice((b"user::rwx", b"nonsense", b"user:0:rwx,mask::rwx"))
        records.append((b"SCHILY.acl.access", value))
    if chance.random() < 0.1:
        records.append((tarentry.LINKS, b"2"))
    if chance.random() < 0.1:
        records.append((tarentry.DATA, b"%d" % chance.choice((0, 512, 1024, 1 << 40))))
    numbers = (0, 1, os.geteuid(), 65534, (1 << 32) - 1, 1 << 40)
    try:
        head = tarentry.put(
            chance.choice(NAMES), chance.choice((0, 0o644, 0o4777, 0o1777, 0o7777)), chance.choice(numbers),
            chance.choice(numbers), size, chance.choice((0, 10**18, -10**18, 1 << 62)), kind,
            chance.choice(LINKS), chance.choice((0, 1, 8, 4095)), chance.choice((0, 3, 255)), records or None)
    except (WireError, ValueError, OverflowError):
        return _entry(chance)
    return head + data.ljust(tar.padded(len(data)), b"\0")
