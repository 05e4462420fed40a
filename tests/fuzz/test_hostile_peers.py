"""Peers that break the rules on purpose: the server says so or hangs up, and others do not notice."""

from __future__ import annotations

from protocol.ndmp.codes import Code, Version
from protocol.ndmp.record import frame
from tests.fuzz.peer import Peer
from tests.fuzz.watch import Watch


def test_a_request_before_a_mark_that_cannot_be_honoured_is_answered_and_then_it_ends(
        watch: Watch, bystander: Peer) -> None:
    with Peer(watch.server.port, Version.V4) as peer:
        good = frame(peer.next_header(Code.CONFIG_GET_SERVER_INFO))
        peer.send(good + bytes.fromhex("ffffffff"))
        peer.until_closed(10)
        peer.check_replies()
        assert len(peer.replies) == 1
        assert len(peer.posts(Code.NOTIFY_CONNECTION_STATUS)) == 2
