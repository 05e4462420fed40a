"""Records, headers and bodies of any kind, against a session process that runs.

Each request has one reply or the server hangs up; other sessions answer; nothing is left behind.
"""

from __future__ import annotations

import random
from pathlib import Path

from protocol.errors import WireError
from protocol.ndmp import registry
from protocol.ndmp.address import LOCAL, Address
from protocol.ndmp.codes import AddrType, Code, MessageType, MoverMode, TapeMtioOp, TapeOpenMode, Version
from protocol.ndmp.connect import ConnectCloseRequest
from protocol.ndmp.data import (
    DataAbortRequest,
    DataConnectRequest,
    DataGetEnvRequest,
    DataGetStateRequest,
    DataListenRequest,
    DataStartBackupRequest,
    DataStartRecoverRequest,
    DataStopRequest,
    Name,
)
from protocol.ndmp.header import Header
from protocol.ndmp.message import Message, Pval
from protocol.ndmp.mover import (
    MoverAbortRequest,
    MoverCloseRequest,
    MoverContinueRequest,
    MoverListenRequest,
    MoverReadRequest,
    MoverSetRecordSizeRequest,
    MoverSetWindowRequest,
    MoverStopRequest,
)
from protocol.ndmp.record import frame
from protocol.ndmp.tape import TapeCloseRequest, TapeMtioRequest, TapeOpenRequest
from tests.fuzz.budget import run_cases
from tests.fuzz.peer import Peer, logged_in
from tests.fuzz.values import LOOPBACK, NUMBERS, Values
from tests.fuzz.watch import Watch
from tests.protocol.ndmp.golden import GOLDENS, Golden

REQUESTS = [golden for golden in GOLDENS if golden.kind == "request"]
CLASSES = {version: [kind for code in sorted(registry.EXCHANGES)
                     if (kind := registry.request_class(code, version)) is not None
                     and kind is not ConnectCloseRequest] for version in Version}


def begin(watch: Watch, chance: random.Random, version: Version) -> Peer:
    """A connection at one of three stages: not a word said, a version settled, a user proved."""
    stage = chance.choice(("greeted", "opened", "in", "in", "in"))
    if stage == "in":
        return logged_in(watch.server.port, version)
    peer = Peer(watch.server.port, version)
    return peer.open() if stage == "opened" else peer


def mutated(data: bytes, chance: random.Random) -> bytes:
    work = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(work) + 1)
        match chance.randrange(5):
            case 0 if at < len(work):
                work[at] ^= 1 << chance.randrange(8)
            case 1:
                word = at // 4 * 4
                work[word:word + 4] = (chance.choice(NUMBERS) & 0xFFFFFFFF).to_bytes(4)
            case 2:
                del work[at:at + chance.randint(1, 8)]
            case 3:
                work[at:at] = work[at:at + 4 * chance.randint(1, 8)]
            case _:
                work[at:at] = chance.randbytes(chance.randint(1, 8))
    return bytes(work)


def calls_strangers(code: int, body: bytes, version: Version) -> bool:
    """Whether a mutant would have the server connect to an address outside this machine."""
    kind = registry.request_class(code, version)
    if code not in (Code.DATA_CONNECT, Code.MOVER_CONNECT) or kind is None:
        return False
    try:
        address: Address = registry.decode(kind, body, version).addr  # type: ignore[attr-defined]
    except WireError:
        return False
    return any(one.ip != LOOPBACK for one in address.tcp)


def test_mutated_requests(watch: Watch, bystander: Peer) -> None:
    def case(chance: random.Random) -> None:
        version = chance.choice(list(Version))
        with begin(watch, chance, version) as peer:
            for _ in range(chance.randint(1, 12)):
                golden: Golden = chance.choice(REQUESTS)
                body = mutated(golden.data, chance) if chance.random() < 0.9 else golden.data
                if golden.code != Code.CONNECT_CLOSE and not calls_strangers(golden.code, body, version):
                    peer.record(golden.code, body)
                    if chance.random() < 0.3:
                        peer.settle()
            peer.settle()
            peer.check_replies()
        bystander.ping()

    assert run_cases("test_mutated_requests", 40, case)


def test_mutated_headers_and_marks(watch: Watch, bystander: Peer) -> None:
    def record(peer: Peer, chance: random.Random) -> bytes:
        sequence, code = chance.choice(NUMBERS) & 0xFFFFFFFF, chance.choice((*Code, 0x999, 0, 0xFFFFFFFF))
        kind = chance.choice((0, 0, 1, 1, 2, 0xFFFFFFFF))
        header = Header(sequence, 0, kind, code, chance.choice((0, 1, 0xFFFFFFFF)), chance.choice((0, 1, 77)))
        if kind == MessageType.REQUEST and code != Code.CONNECT_CLOSE:
            peer.asked.append(sequence)
        body = b"" if code == Code.CONNECT_CLOSE else chance.randbytes(chance.choice((0, 4, 40)))
        return header.encode() + body

    def case(chance: random.Random) -> None:
        with begin(watch, chance, Version.V4) as peer:
            peer.settle()
            for _ in range(chance.randint(1, 6)):
                match chance.randrange(6):
                    case 0 | 1 | 2:
                        peer.send(frame(record(peer, chance)))
                    case 3:  # the same in fragments, empty ones among them, a byte at a time
                        data = record(peer, chance)
                        cut = chance.randrange(len(data) + 1)
                        marks = [cut, *[0] * chance.randrange(4), len(data) - cut | 1 << 31]
                        sent = marks[0].to_bytes(4) + data[:cut]
                        sent += b"".join(mark.to_bytes(4) for mark in marks[1:]) + data[cut:]
                        for at in range(0, len(sent), 3):
                            peer.send(sent[at:at + 3])
                    case 4:
                        peer.send(frame(chance.randbytes(chance.choice((0, 1, 23)))))
                    case _:
                        peer.send(chance.randbytes(chance.choice((1, 4, 100))))
            # Half a mark or a length never met leaves the server waiting: hang up on it, as a peer may.
            for _ in range(3):
                peer.wait(0.05)
            answered = [one.header.reply_sequence for one in peer.replies]
            assert answered == peer.asked[:len(answered)]
        bystander.ping()

    assert run_cases("test_mutated_headers_and_marks", 40, case)


def workflow(chance: random.Random, export: Path) -> list[Message]:
    """What a DMA would send for a job, which hostile messages are then strewn into."""
    name = str(export)
    environment = (Pval("FILESYSTEM", name), Pval("TYPE", "tar"), Pval("HIST", chance.choice("fdny")))
    start: Message = DataStartBackupRequest("tar", environment)
    mode = MoverMode.READ
    if chance.random() < 0.4:
        mode = MoverMode.WRITE
        start = DataStartRecoverRequest(environment, (Name("/", f"{name}/back", "", "", 0, 0),), "tar")
    return [
        TapeOpenRequest(chance.choice(("tape0", "tape1")), TapeOpenMode.RDWR),
        TapeMtioRequest(TapeMtioOp.REW, 1), MoverSetRecordSizeRequest(chance.choice((512, 10240, 65536))),
        MoverSetWindowRequest(0, chance.choice(((1 << 64) - 1, 10240, 655360))),
        MoverListenRequest(mode, chance.choice((AddrType.LOCAL, AddrType.TCP))), DataConnectRequest(LOCAL),
        start, DataGetStateRequest(), MoverReadRequest(0, (1 << 64) - 1), MoverContinueRequest(),
        DataGetEnvRequest(), MoverCloseRequest(), MoverAbortRequest(), DataAbortRequest(), DataStopRequest(),
        MoverStopRequest(), TapeMtioRequest(TapeMtioOp.EOF, 1), TapeCloseRequest(),
        DataListenRequest(AddrType.TCP),
    ]


def test_sequences_of_valid_messages(watch: Watch, bystander: Peer, export: Path) -> None:
    def case(chance: random.Random) -> None:
        version = chance.choice(list(Version))
        values = Values(chance, (str(export), str(export.parent), "/vol/disk0"), watch.server.port)
        job = workflow(chance, export)
        with begin(watch, chance, version) as peer:
            for _ in range(chance.randint(1, 25)):
                if job and chance.random() < 0.7:
                    peer.request(job.pop(0))
                else:
                    kind = chance.choice(CLASSES[version])
                    peer.request(values.message(kind, version))
                if chance.random() < 0.5:
                    peer.settle()
            peer.settle()
            peer.check_replies()
            if chance.random() < 0.3:
                peer.record(Code.CONNECT_CLOSE)
                peer.asked.pop()
                peer.until_closed()
        bystander.ping()

    assert run_cases("test_sequences_of_valid_messages", 50, case)
