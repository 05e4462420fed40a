"""An initiator that does what a test tells it, right or wrong, PDU by PDU."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Any

from protocol.iscsi.pdu import (
    R2T,
    RESERVED_TAG,
    DataIn,
    DataOut,
    NopIn,
    Pdu,
    ScsiCommand,
    ScsiResponse,
    TaskRequest,
    TaskResponse,
)
from protocol.iscsi.segments import padding, put_digest, put_extended_cdb
from protocol.iscsi.session import (
    LoginRequest,
    LoginResponse,
    LogoutResponse,
    Reject,
    Stage,
    TextResponse,
)
from protocol.iscsi.text import Pairs, put_text, take_text

NAME = "iqn.2026-11.test:initiator"
KINDS: dict[int, type[Pdu]] = {kind.opcode: kind for kind in (
    DataIn, NopIn, R2T, ScsiResponse, TaskResponse, LoginResponse, LogoutResponse, TextResponse, Reject)}
NUMBERS = 0xFFFFFFFF


@dataclass
class Answer:
    """How a command ended: its status, the data-in, what the residual says, the sense data."""

    status: int
    data: bytes = b""
    residual: int = 0
    overflow: bool = False
    underflow: bool = False
    sense: bytes = b""

    @property
    def code(self) -> int:
        return int.from_bytes(self.sense[12:14], "big")

    @property
    def key(self) -> int:
        return self.sense[2] & 0xF


@dataclass
class Initiator:
    """``digests``: of header and data. What the target declared is in ``theirs``."""

    port: int
    target: str = ""
    name: str = NAME
    isid: int = 0x800000000001
    digests: tuple[bool, bool] = (False, False)
    theirs: dict[str, str] = field(default_factory=dict)
    cmd_sn: int = 1
    stat_sn: int = 0
    tag: int = 0
    on: bool = False

    def __post_init__(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def __enter__(self) -> Initiator:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    # PDUs.

    def send(self, pdu: Pdu, data: bytes = b"", segments: bytes = b"", spoil: str = "") -> None:
        """``spoil``: "header" or "data": make that digest wrong."""
        header = bytearray(pdu.put(len(data)))
        header[4] = len(segments) // 4
        whole = bytes(header) + segments
        out = whole
        if self.on and self.digests[0]:
            out += self._digest(whole, spoil == "header")
        filled = data + bytes(padding(len(data)))
        out += filled
        if self.on and self.digests[1] and data:
            out += self._digest(filled, spoil == "data")
        self.socket.sendall(out)

    @staticmethod
    def _digest(data: bytes, wrong: bool) -> bytes:
        return bytes(4) if wrong else put_digest(data)

    def exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            part = self.socket.recv(size - len(found))
            if not part:
                raise ConnectionError("the target hung up")
            found += part
        return found

    def receive(self) -> tuple[Any, bytes]:
        """The next PDU and its data; digests are checked."""
        header = self.exactly(48)
        if self.on and self.digests[0]:
            assert self.exactly(4) == put_digest(header)
        length = int.from_bytes(header[5:8], "big")
        data = self.exactly(length + padding(length))
        if self.on and self.digests[1] and length:
            assert self.exactly(4) == put_digest(data)
        assert header[4] == 0
        pdu = KINDS[header[0] & 0x3F].take(header)
        self.stat_sn = getattr(pdu, "stat_sn", 0)
        return pdu, data[:length]

    def next_tag(self) -> int:
        self.tag += 1
        return self.tag

    # Sessions.

    def ask(self, pairs: Pairs, stage: Stage, next_stage: Stage | None,
            **fields: int) -> tuple[LoginResponse, Pairs]:
        request = LoginRequest(**{"task_tag": 77, "isid": self.isid, "cid": 1, "cmd_sn": self.cmd_sn,
                                  "stage": stage, "transit": int(next_stage is not None),
                                  "next_stage": next_stage or 0, **fields})
        self.send(request, put_text(pairs))
        response, data = self.receive()
        assert isinstance(response, LoginResponse)
        return response, take_text(data)

    def identity(self, kind: str = "Normal") -> Pairs:
        found = [("InitiatorName", self.name), ("SessionType", kind)]
        return found + ([("TargetName", self.target)] if kind == "Normal" else [])

    def log_in(self, *more: tuple[str, str], kind: str = "Normal", first: bool = True) -> LoginResponse:
        """Operational negotiation, and on to full feature."""
        wanted = [("HeaderDigest", "CRC32C" if self.digests[0] else "None"),
                  ("DataDigest", "CRC32C" if self.digests[1] else "None"), *more]
        response, pairs = self.ask((self.identity(kind) if first else []) + wanted, Stage.OPERATIONAL,
                                   Stage.FULL_FEATURE)
        self.theirs |= dict(pairs)
        self.on = response.status == 0
        return response

    # Commands.

    def command(self, cdb: bytes, *, length: int = 0, out: bytes | None = None, spoil: str = "",
                immediate: bytes = b"", **fields: int) -> int:
        """Send a command; returns its task tag. ``out``: data-out to come, of which ``immediate`` is sent."""
        tag = self.next_tag()
        segments = put_extended_cdb(cdb)
        pdu = ScsiCommand(**{"task_tag": tag, "cmd_sn": self.cmd_sn, "length": length,
                             "read": int(out is None and length > 0), "write": int(out is not None),
                             "head": int.from_bytes(cdb[:16].ljust(16, b"\0"), "big"), **fields})
        self.send(pdu, immediate, segments, spoil)
        if not pdu.immediate:
            self.cmd_sn = (self.cmd_sn + 1) & NUMBERS
        return tag

    def data_out(self, tag: int, data: bytes, offset: int, *, transfer_tag: int = RESERVED_TAG,
                 data_sn: int = 0, final: int = 1, spoil: str = "") -> None:
        self.send(DataOut(task_tag=tag, transfer_tag=transfer_tag, data_sn=data_sn, offset=offset,
                          final=final), data, spoil=spoil)

    def finish(self, tag: int, out: bytes = b"") -> Answer:
        """Take what comes until the command has ended; R2Ts are answered out of ``out``."""
        data = b""
        while True:
            pdu, segment = self.receive()
            assert pdu.task_tag == tag, pdu
            match pdu:
                case DataIn():
                    assert pdu.offset == len(data)
                    data += segment
                    if pdu.has_status:
                        return Answer(pdu.status, data, pdu.residual, bool(pdu.overflow), bool(pdu.underflow))
                case R2T():
                    end, at, number = pdu.offset + pdu.length, pdu.offset, 0
                    while at < end:
                        size = min(end - at, int(self.theirs["MaxRecvDataSegmentLength"]))
                        self.data_out(tag, out[at:at + size], at, transfer_tag=pdu.transfer_tag,
                                      data_sn=number, final=int(at + size == end))
                        at, number = at + size, number + 1
                case ScsiResponse():
                    return Answer(pdu.status, data, pdu.residual, bool(pdu.overflow), bool(pdu.underflow),
                                  segment[2:])
                case _:
                    raise AssertionError(pdu)

    def execute(self, cdb: bytes, *, length: int = 0, out: bytes | None = None) -> Answer:
        size = length if out is None else len(out)
        return self.finish(self.command(cdb, length=size, out=out), out or b"")

    def clear(self) -> None:
        """Take the unit attention of a new nexus."""
        answer = self.execute(bytes(6))
        assert (answer.status, answer.key, answer.code) == (2, 6, 0x2900)

    def manage(self, function: int, **fields: int) -> int:
        tag = self.next_tag()
        self.send(TaskRequest(task_tag=tag, function=function, cmd_sn=self.cmd_sn, **fields))
        return tag


