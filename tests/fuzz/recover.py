"""A recover that a hostile peer feeds: it plays the mover, and sends whatever stream it likes to DATA."""

from __future__ import annotations

import socket
import time
from contextlib import suppress

from protocol.ndmp import registry
from protocol.ndmp.codes import AddrType, Code, DataHaltReason
from protocol.ndmp.data import (
    DataListenReply,
    DataListenRequest,
    DataStartRecoverRequest,
    DataStopRequest,
    Name,
)
from protocol.ndmp.message import Pval
from protocol.ndmp.notify import NotifyDataHaltedPost, NotifyDataReadPost
from tests.fuzz.peer import PATIENCE, Peer, Silence

ALL_ONES = (1 << 64) - 1
RECORD = 10240


def recover(peer: Peer, butype: str, stream: bytes, destination: str, original: str = "/") -> DataHaltReason:
    """Have ``stream`` recovered to ``destination``; how DATA halted. The session is IDLE before and after."""
    peer.received.clear()
    peer.asked.clear()
    listening = peer.ask(DataListenRequest(AddrType.TCP))
    assert isinstance(listening, DataListenReply) and not listening.error
    port = listening.connect_addr.tcp[0].port
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as mover:
        # The session notices its peer in its own time.
        started = peer.ask(_order(butype, destination, original))
        while started.error:
            time.sleep(0.005)
            started = peer.ask(_order(butype, destination, original))
        padded = stream + bytes(-len(stream) % RECORD)
        served = 0
        deadline = time.monotonic() + PATIENCE
        while not (halted := peer.posts(Code.NOTIFY_DATA_HALTED)):
            for post in peer.posts(Code.NOTIFY_DATA_READ)[served:]:
                served += 1
                _serve(mover, padded, registry.decode(NotifyDataReadPost, post.body, peer.version))
            peer.wait(0.5)
            if peer.closed or time.monotonic() > deadline:
                raise Silence("the recover does not end")
    assert not peer.ask(DataStopRequest()).error
    reason = registry.decode(NotifyDataHaltedPost, halted[0].body, peer.version).reason
    assert len(peer.posts(Code.LOG_FILE)) <= 1, "one outcome for the one name selected"
    return DataHaltReason(reason)


def _order(butype: str, destination: str, original: str) -> DataStartRecoverRequest:
    environment = (Pval("FILESYSTEM", destination), Pval("TYPE", butype))
    return DataStartRecoverRequest(environment, (Name(original, destination, "", "", 0, ALL_ONES),), butype)


def _serve(mover: socket.socket, data: bytes, wanted: NotifyDataReadPost) -> None:
    """Send a range; hang up where it goes beyond what there is, as a mover does at its last tape."""
    with suppress(OSError):  # DATA may have hung up first
        mover.sendall(data[wanted.offset:min(wanted.offset + wanted.length, len(data))])
        if wanted.offset + wanted.length > len(data):
            mover.shutdown(socket.SHUT_WR)
