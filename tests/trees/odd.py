"""A small tree with every odd file type, name and attribute that a Linux file system can hold.

Content is the same at every call (a seeded generator), so that two trees, or two backup streams, can be
compared. What needs root, or what the file system does not support, is left out and named in the list
returned.
"""

from __future__ import annotations

import os
import random
import socket
import stat
import struct
from collections.abc import Callable
from pathlib import Path

SECOND = 1_000_000_000
KIB = 1024
MIB = 1024 * KIB

# Around the sizes of a tar block, a page, a 10 KiB and a 100 KiB record, and the 64 KiB below which a small
# file is carried by value.
EXACT_SIZES = (
    1, 511, 512, 513, 1023, 1024, 1025, 4095, 4096, 4097, 10239, 10240, 10241,
    65535, 65536, 65537, 102399, 102400, 102401, 3 * MIB,
)  # fmt: skip

ODD_NAMES = (
    b"with space", b" leading", b"trailing ", b"new\nline", b"two\n\nnewlines\n", b"tab\there", b"cr\rhere",
    b"back\\slash", b"quote\"'`", b"dollar$HOME", b"star*", b"question?", b"[bracket]", b"{brace}",
    b"semi;colon",
    b"amp&ersand", b"pipe|", b"hash#", b"percent%41", b"equals=sign", b"at@sign", b"comma,comma", b"colon:",
    b"-rf", b"--checkpoint-action=exec", b"...", b"..x", b".hidden", b"~", b"~root", b"!", b"\x01control",
    b"\x7fdel",
    b"@LongLink", b"PaxHeaders", b"\xff\xfe not utf-8", b"caf\xe9 latin-1", "caf\u00e9 utf-8".encode(),
    "cafe\u0301 combining".encode(), "\U0001f4fc tape".encode(), "\u65e5\u672c\u8a9e".encode(),
    b"\xed\xa0\x80 surrogate",
    b"n" * 99, b"n" * 100, b"n" * 101, b"n" * 155, b"n" * 255,
)  # fmt: skip

LARGE_ID = 2**31  # above the signed range, and above the 2,097,151 of a ustar header
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # cap_net_bind_service=ep, revision 2


def make_odd_tree(root: Path) -> list[str]:
    """Make the tree in the new directory ``root``; returns what was left out and why."""
    builder = _Builder(root)
    root.mkdir()
    for part in (
        builder.sizes, builder.names, builder.holes, builder.links, builder.symlinks,
        builder.special, builder.deep,
        builder.modes, builder.times, builder.owners, builder.attributes, builder.access_lists,
        builder.directories,
    ):  # fmt: skip
        part()
    builder.settle_directory_times()
    return builder.left_out


def make_deep_tree(root: Path, length: int) -> None:
    """Make the new directory ``root`` with one file whose path below it has ``length`` bytes or a little
    more.

    Beyond PATH_MAX (4096) a file can only be reached from a descriptor of a directory above it.
    """
    root.mkdir()
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    depth = 0
    while depth < length:
        name = b"d%03d" % (depth // 200) + b"d" * 196
        os.mkdir(name, dir_fd=directory)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)
        os.close(directory)
        directory, depth = below, depth + len(name) + 1
    file = os.open("at the bottom", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=directory)
    os.write(file, b"reached\n")
    os.close(file)
    os.close(directory)


class _Builder:
    def __init__(self, root: Path) -> None:
        self.root = os.fsencode(root)
        self.left_out: list[str] = []
        self.random = random.Random(4)

    def path(self, name: bytes | str) -> bytes:
        return os.path.join(self.root, os.fsencode(name))

    def directory(self, name: bytes | str) -> bytes:
        path = self.path(name)
        os.mkdir(path, 0o755)
        return path

    def file(self, name: bytes | str, size: int = 100) -> bytes:
        path = self.path(name)
        with open(path, "xb") as file:
            file.write(self.random.randbytes(size))
        os.chmod(path, 0o644)
        return path

    def attempt(self, what: str, action: Callable[[], object]) -> None:
        """Do what may need root or a capable file system."""
        try:
            action()
        except OSError as error:
            self.left_out.append(f"{what}: {error.strerror}")

    def sizes(self) -> None:
        self.directory("sizes")
        self.file("sizes/empty", 0)
        for size in EXACT_SIZES:
            self.file(f"sizes/{size} bytes", size)
        self.file("sizes/big", 12 * MIB + 77)

    def names(self) -> None:
        self.directory("names")
        for name in ODD_NAMES:
            self.attempt(f"the name {name!r}", lambda name=name: self.file(b"names/" + name, len(name)))
            self.attempt(
                f"a directory named {name!r}",
                lambda name=name: self.directory(b"names/" + name[:250] + b".dir"),
            )
        self.file(b"names/new\nline.dir/in\nside")

    def holes(self) -> None:
        """Data and holes in 64 KiB steps, at the start, in the middle, at the end, nothing else, and beyond
        8 GiB (what a size field of eleven octal digits can say).
        """
        self.directory("holes")
        layouts = {
            "leading": ([(MIB, 64 * KIB)], MIB + 64 * KIB),
            "trailing": ([(0, 64 * KIB)], 2 * MIB),
            "middle": ([(0, 64 * KIB), (MIB, 64 * KIB)], MIB + 64 * KIB),
            "only": ([], 3 * MIB),
            "odd length": ([(5000, 3)], 1_000_003),
            "many": ([(i * 128 * KIB, 4 * KIB) for i in range(100)], 100 * 128 * KIB),
            "beyond 8 GiB": ([(0, 10), (9 * 1024 * MIB, 4097)], 9 * 1024 * MIB + 4097),
        }
        for name, (data, size) in layouts.items():
            with open(self.path("holes/" + name), "xb") as file:
                for offset, length in data:
                    file.seek(offset)
                    file.write(self.random.randbytes(length))
                file.truncate(size)

    def links(self) -> None:
        self.directory("links")
        self.directory("links/elsewhere")
        first = self.file("links/file", 5000)
        os.link(first, self.path("links/second"))
        os.link(first, self.path("links/elsewhere/third"))
        empty = self.file("links/empty", 0)
        os.link(empty, self.path("links/also empty"))
        os.symlink("file", self.path("links/symlink"))
        os.link(self.path("links/symlink"), self.path("links/same symlink"), follow_symlinks=False)
        os.mkfifo(self.path("links/fifo"))
        os.link(self.path("links/fifo"), self.path("links/same fifo"))
        self.file("links/a link before its file", 10)
        os.link(self.path("links/a link before its file"), self.path("links/Z capital sorts first"))

        def device() -> None:
            os.mknod(self.path("links/device"), stat.S_IFCHR | 0o600, os.makedev(1, 3))
            os.link(self.path("links/device"), self.path("links/same device"))

        self.attempt("hard-linked devices", device)

    def symlinks(self) -> None:
        self.directory("symlinks")
        targets = {
            "relative": b"../sizes/empty", "dangling": b"nowhere/at all", "absolute": b"/etc/passwd",
            "up": b"..",
            "to itself": b"to itself", "to a directory": b"../names", "99": b"t" * 99, "100": b"t" * 100,
            "101": b"t" * 101, "long": b"/".join([b"t" * 200] * 20), "newline": b"a\nb",
            "not utf-8": b"\xff\xfe",
        }  # fmt: skip
        for name, target in targets.items():
            os.symlink(target, self.path("symlinks/" + name))

    def special(self) -> None:
        self.directory("special")
        os.mkfifo(self.path("special/fifo"), 0o640)
        listener = socket.socket(socket.AF_UNIX)
        folder = os.open(self.path("special"), os.O_RDONLY | os.O_DIRECTORY)
        try:  # the path of a socket has 108 bytes at most
            listener.bind(f"/proc/self/fd/{folder}/socket")
        finally:
            listener.close()
            os.close(folder)
        for name, kind, device in (
            ("null", stat.S_IFCHR, os.makedev(1, 3)),
            ("loop", stat.S_IFBLK, os.makedev(7, 200)),
            ("large numbers", stat.S_IFCHR, os.makedev(300, 70_000)),
        ):
            self.attempt(
                f"the device {name}",
                lambda n=name, k=kind, d=device: os.mknod(self.path("special/" + n), k | 0o600, d),
            )

    def deep(self) -> None:
        """Path lengths around the 100 and 256 bytes of a tar header, and up to about 2,000."""
        path = b"deep"
        self.directory(path)
        while len(path) < 2000:
            path += b"/" + b"level %04d " % len(path) + b"." * 60
            self.directory(path)
            self.file(path + b"/file", 10)

    def modes(self) -> None:
        self.directory("modes")
        for mode in (0o000, 0o400, 0o444, 0o777, 0o1644, 0o2755, 0o4755, 0o6711, 0o7777):
            if mode or os.geteuid() == 0:  # nobody else could read it again
                os.chmod(self.file(f"modes/file {mode:04o}"), mode)
        for mode in (0o700, 0o1777, 0o2775, 0o7777):
            os.chmod(self.directory(f"modes/directory {mode:04o}"), mode)
        self.directory("modes/read-only")
        self.file("modes/read-only/inside")
        os.chmod(self.path("modes/read-only"), 0o555)

    def times(self) -> None:
        self.directory("times")
        moments = {
            "nanoseconds": 1_700_000_000 * SECOND + 123_456_789,
            "last nanosecond": 1_700_000_000 * SECOND + 999_999_999,
            "one nanosecond": 1, "epoch": 0, "before 1970": -86_400 * SECOND,
            "before 1970, fraction": -5 * SECOND + 250,
            "1902": -2_140_000_000 * SECOND, "2038": 2**31 * SECOND, "2105": 2**32 * SECOND - SECOND,
            "2400": 13_569_465_600 * SECOND + 5,
        }  # fmt: skip
        for name, moment in moments.items():
            path = self.file("times/" + name)
            os.utime(path, ns=(moment, moment))
        os.symlink("x", self.path("times/symlink"))
        os.utime(self.path("times/symlink"), ns=(0, 987_654_321), follow_symlinks=False)

    def owners(self) -> None:
        self.directory("owners")
        for owner in (1, 65_534, 70_000, 2_097_151, 2_097_152, LARGE_ID, 2**32 - 2):
            path = self.file(f"owners/{owner}")
            self.attempt(f"the owner {owner}", lambda p=path, o=owner: os.chown(p, o, o))
        path = self.file("owners/setuid of another")
        self.attempt("the owner 1", lambda: os.chown(path, 1, 2))
        os.chmod(path, 0o6755)

    def attributes(self) -> None:
        self.directory("attributes")
        path = self.file("attributes/file")
        values = {
            "user.text": b"value", "user.empty": b"", "user.binary": bytes(range(256)),
            "user.newline": b"a\nb=c\n",
            "user.large": b"v" * 1500, "user.dotted.name": b"1", "user.with space": b"1",
            "user.per%cent": b"1",
            "user.equals=sign": b"1", "user.caf\u00e9": b"1", "trusted.hidden": b"for root",
        }  # fmt: skip
        for name, value in values.items():
            self.attempt(f"the attribute {name}", lambda n=name, v=value: os.setxattr(path, n, v))
        folder = self.directory("attributes/directory")
        self.attempt(
            "an attribute of a directory", lambda: os.setxattr(folder, "user.text", b"of a directory")
        )
        program = self.file("attributes/capable")
        os.chmod(program, 0o755)
        self.attempt("a capability", lambda: os.setxattr(program, "security.capability", CAPABILITY))
        os.symlink("file", self.path("attributes/symlink"))
        self.attempt(
            "an attribute of a symbolic link",
            lambda: os.setxattr(self.path("attributes/symlink"), "trusted.link", b"1", follow_symlinks=False),
        )
        empty = self.file("attributes/empty", 0)
        self.attempt("an attribute of an empty file", lambda: os.setxattr(empty, "user.text", b"x"))

    def access_lists(self) -> None:
        self.directory("acl")
        path = self.file("acl/file")
        extended = access_list(owner=6, users={1: 4, LARGE_ID: 7}, group=4, groups={2: 5}, mask=7, other=0)
        self.attempt("an ACL", lambda: os.setxattr(path, "system.posix_acl_access", extended))
        folder = self.directory("acl/directory")
        listed = access_list(owner=7, users={1: 4, LARGE_ID: 7}, group=4, groups={2: 5}, mask=7, other=0)
        self.attempt("an ACL of a directory", lambda: os.setxattr(folder, "system.posix_acl_access", listed))
        default = access_list(owner=7, users={3: 5}, group=5, groups={}, mask=5, other=5)
        self.attempt("a default ACL", lambda: os.setxattr(folder, "system.posix_acl_default", default))
        self.file("acl/directory/inherits")
        minimal = self.directory("acl/minimal default")
        self.attempt(
            "a minimal default ACL",
            lambda: os.setxattr(
                minimal,
                "system.posix_acl_default",
                access_list(owner=7, users={}, group=5, groups={}, mask=None, other=0),
            ),
        )

    def directories(self) -> None:
        self.directory("directories")
        self.directory("directories/empty")
        self.directory("directories/many")
        for number in range(300):
            self.file(f"directories/many/{number}", 3)
        self.directory("directories/file then directory")
        self.file("directories/file then directory.txt")  # sorts between the directory and its content
        self.file("directories/file then directory/inside")

    def settle_directory_times(self) -> None:
        """Give every directory a time of its own, deepest first: making files in it changed it."""
        for number, (folder, _, _) in enumerate(sorted(os.walk(self.root), reverse=True)):
            moment = 1_600_000_000 * SECOND + number * 1_000_000_007
            os.utime(folder, ns=(moment, moment))


def access_list(
    *, owner: int, users: dict[int, int], group: int, groups: dict[int, int], mask: int | None, other: int
) -> bytes:
    """A POSIX ACL in the form of the ``system.posix_acl_*`` attributes: version 2, then (tag, permissions,
    id).
    """
    undefined = 0xFFFFFFFF
    entries = [(0x01, owner, undefined)]
    entries += [(0x02, permissions, user) for user, permissions in sorted(users.items())]
    entries += [(0x04, group, undefined)]
    entries += [(0x08, permissions, named) for named, permissions in sorted(groups.items())]
    entries += [(0x10, mask, undefined)] if mask is not None else []
    entries += [(0x20, other, undefined)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
