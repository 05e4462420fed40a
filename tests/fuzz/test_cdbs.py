"""Pass-through commands whose lengths lie, to the changer and to a drive, through a session that runs.

Every request has one reply, the unit answers afterwards, and nobody's memory grows by what was announced.
"""

from __future__ import annotations

import random

from protocol.ndmp.codes import Error, ScsiDataDir, TapeOpenMode
from protocol.ndmp.scsi import ExecuteCdbReply, ScsiExecuteCdbRequest, ScsiOpenRequest
from protocol.ndmp.tape import TapeExecuteCdbRequest, TapeOpenRequest
from protocol.scsi import command as scsi
from tests.fuzz.budget import run_cases
from tests.fuzz.peer import Peer, logged_in
from tests.fuzz.watch import Watch, resident

MIB = 1 << 20
LENGTHS = (0, 0, 1, 8, 36, 255, 4096, 65536, (1 << 24) - 1, 1 << 24, (1 << 24) + 1, (1 << 32) - 1)
OPCODES = bytes.fromhex(
    "00 01 03 05 07 08 0a 10 11 12 15 16 17 19 1a 1b 1e 2b 34 37 3b 3c 4c 4d 55 5a 5e"
    "5f 83 84 8c 91 92 a0 a3 a4 a5 a6 b8 e7 ff")
MOST_KEPT = 64 * MIB
"""Bytes of its own that a session may have after any command: one of 16 MiB goes through several hands."""

ExecuteRequest = type[ScsiExecuteCdbRequest] | type[TapeExecuteCdbRequest]


def hostile(kind: ExecuteRequest, chance: random.Random) -> ScsiExecuteCdbRequest | TapeExecuteCdbRequest:
    size = chance.choice((0, 1, 5, 6, 6, 6, 10, 10, 12, 12, 16, 16, 17, 260, 5000))
    rest = chance.choices((0, 0, 0, 1, 2, 8, 0x3F, 0x80, 0xFF), k=max(0, size - 1))
    cdb = bytes([chance.choice(OPCODES), *rest])[:size]
    data = chance.randbytes(chance.choice((0, 0, 1, 8, 512, 70000, 2 * MIB)))
    flags = ScsiDataDir(chance.choice((0, 1, 2, 1, 2, 3)))
    return kind(flags, chance.choice((0, 1, 1000, 60000, (1 << 32) - 1)), chance.choice(LENGTHS), cdb, data)


def attack(name: str, watch: Watch, peer: Peer, kind: ExecuteRequest) -> None:
    session = watch.processes()[-1]
    inquiry = kind(ScsiDataDir.DATA_IN, 10000, 36, scsi.INQUIRY.put(allocation=36), b"")

    def case(chance: random.Random) -> None:
        request = hostile(kind, chance)
        reply = peer.ask(request)
        assert isinstance(reply, ExecuteCdbReply)
        assert reply.error in (Error.NO_ERR, Error.ILLEGAL_ARGS, Error.IO, Error.TIMEOUT)
        if reply.error == Error.NO_ERR:
            assert len(reply.datain) <= request.datain_len
            assert reply.dataout_len <= len(request.dataout)
        well = peer.ask(inquiry)
        assert isinstance(well, ExecuteCdbReply) and well.error == Error.NO_ERR
        assert len(well.datain) == 36
        assert resident(session) < MOST_KEPT

    assert run_cases(name, 250, case)


def test_cdbs_to_the_changer(watch: Watch, bystander: Peer) -> None:
    with logged_in(watch.server.port) as peer:
        assert not peer.ask(ScsiOpenRequest("mc0")).error
        attack("test_cdbs_to_the_changer", watch, peer, ScsiExecuteCdbRequest)
        bystander.ping()


def test_cdbs_to_a_drive(watch: Watch, bystander: Peer) -> None:
    with logged_in(watch.server.port) as peer:
        assert not peer.ask(TapeOpenRequest("tape0", TapeOpenMode.RDWR)).error
        attack("test_cdbs_to_a_drive", watch, peer, TapeExecuteCdbRequest)
        bystander.ping()
