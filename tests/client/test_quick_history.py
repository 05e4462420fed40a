"""The quick way to take file history apart gives what the message classes give, or leaves it to them."""

from __future__ import annotations

import random

import pytest

from ndmpd.client.history import HistoryWriter, Row
from ndmpd.client.observer import Observer
from ndmpd.client.posts import Posts
from ndmpd.client.quick_history import take_dirs, take_files, take_nodes
from protocol.ndmp import registry
from protocol.ndmp.codes import Code, FileStatUnsupported, FileType, FsType, Version
from protocol.ndmp.filehist import (
    Dir,
    FhAddDirPost,
    FhAddFilePost,
    FhAddNodePost,
    File,
    FileName,
    FileStat,
    Node,
    pack_dir,
    pack_file,
    pack_node,
    post_body,
)
from protocol.ndmp.message import Message


class Remembering(HistoryWriter):
    """Keeps the calls instead of writing them."""

    def __init__(self) -> None:
        super().__init__(None, 0)
        self.calls: list[tuple[object, ...]] = []

    def file(self, path: str, stats: Row, node: int, fh_info: int) -> None:
        self.calls.append(("file", path, stats, node, fh_info))

    def directory_entry(self, parent: int, name: str, node: int) -> None:
        self.calls.append(("dir", parent, name, node))

    def node(self, node: int, stats: Row, fh_info: int) -> None:
        self.calls.append(("node", node, stats, fh_info))


POSTS = {Code.FH_ADD_FILE: FhAddFilePost, Code.FH_ADD_DIR: FhAddDirPost, Code.FH_ADD_NODE: FhAddNodePost}
TAKERS = {Code.FH_ADD_FILE: take_files, Code.FH_ADD_DIR: take_dirs, Code.FH_ADD_NODE: take_nodes}


def bodies() -> dict[Code, bytes]:
    files, dirs, nodes = bytearray(), bytearray(), bytearray()
    names = [b"/", b"/a", b"/ab", b"/abc", b"/abcd", b"/caf\xe9", "/é".encode()]
    for at, name in enumerate(names):
        group_unknown = FileStatUnsupported.GROUP if at % 2 else 0
        pack_file(files, name, at % 9, 10 + at, 1, 2, 3, 4, 0o100644 + at, 1 << 33, 1, (1 << 64) - 1 - at,
                  at * 512, group_unknown)
        pack_dir(dirs, name[1:], at, 2)
        pack_node(nodes, 4, 5, 6, 7, 8, 9, 0o777, 10, 2, at, (1 << 64) - 1, group_unknown)
    return {Code.FH_ADD_FILE: post_body(len(names), files), Code.FH_ADD_DIR: post_body(len(names), dirs),
            Code.FH_ADD_NODE: post_body(len(names), nodes)}


@pytest.mark.parametrize("code", POSTS)
def test_both_ways_say_the_same(code: Code) -> None:
    body = bodies()[code]
    quick, whole = Remembering(), Remembering()
    assert Posts(Observer(), quick).take_raw(code, body)
    Posts(Observer(), whole).take(code, registry.decode(POSTS[code], body, Version.V4))
    assert quick.calls == whole.calls
    assert len(quick.calls) == 7


STAT = FileStat(FileStatUnsupported(0), FsType.UNIX, FileType.REG, 1, 2, 3, 4, 5, 6, 7, 8)
UNIX = FileName(FsType.UNIX, "/a")
NT = FileName(FsType.NT, "\\a", "A~1")


@pytest.mark.parametrize(("code", "post"), [
    (Code.FH_ADD_FILE, FhAddFilePost((File((UNIX, NT), (STAT,), 1, 2),))),
    (Code.FH_ADD_FILE, FhAddFilePost((File((NT,), (STAT,), 1, 2),))),
    (Code.FH_ADD_FILE, FhAddFilePost((File((UNIX,), (), 1, 2),))),
    (Code.FH_ADD_FILE, FhAddFilePost((File((UNIX,), (STAT, STAT), 1, 2),))),
    (Code.FH_ADD_DIR, FhAddDirPost((Dir((), 1, 2),))),
    (Code.FH_ADD_DIR, FhAddDirPost((Dir((NT, UNIX), 1, 2),))),
    (Code.FH_ADD_NODE, FhAddNodePost((Node((), 1, 2),))),
])
def test_other_forms_are_left_to_the_message_classes(code: Code, post: Message) -> None:
    assert TAKERS[code](registry.encode(post, Version.V4)) is None


def test_the_unix_name_is_taken_where_there_are_several() -> None:
    history = Remembering()
    Posts(Observer(), history).take(Code.FH_ADD_DIR, FhAddDirPost((Dir((NT, UNIX), 1, 2),)))
    assert history.calls == [("dir", 2, "/a", 1)]


@pytest.mark.parametrize("code", POSTS)
def test_damaged_posts_are_left_to_the_message_classes(code: Code) -> None:
    body = bodies()[code]
    assert TAKERS[code](b"") is None
    for cut in range(1, len(body)):
        assert TAKERS[code](body[:cut]) is None
    assert TAKERS[code](body + bytes(4)) is None
    assert TAKERS[code](b"\xff\xff\xff\xff" + body[4:]) is None


def test_random_bytes_are_taken_apart_without_an_exception() -> None:
    chance = random.Random(7)
    for _ in range(2000):
        body = chance.choice(list(bodies().values()))
        at = chance.randrange(len(body))
        damaged = body[:at] + chance.randbytes(4) + body[at + 4:]
        for taker in TAKERS.values():
            taker(damaged)
