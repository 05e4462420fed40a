"""Ways for a test to bring DATA and MOVER into each of their states, as a DMA would."""

from __future__ import annotations

from ndmpd.session import events
from protocol.ndmp.address import LOCAL, Address
from protocol.ndmp.codes import (
    AddrType,
    DataHaltReason,
    DataState,
    Error,
    MoverHaltReason,
    MoverMode,
    MoverPauseReason,
    MoverState,
    Version,
)
from protocol.ndmp.data import (
    DataConnectRequest,
    DataListenRequest,
    DataStartBackupRequest,
    DataStartRecoverRequest,
    Name,
)
from protocol.ndmp.message import Pval
from protocol.ndmp.mover import (
    MoverConnectRequest,
    MoverListenRequest,
    MoverSetRecordSizeRequest,
    MoverSetWindowRequest,
)
from tests.session.driver import ALL_ONES, HERE, PEER, RECORD, Dma

TCP = Address(AddrType.TCP, (PEER,))
ENV = (Pval("FILESYSTEM", "/export"), Pval("HIST", "y"), Pval("odd name", ""))
EVERYTHING = (Name("", "/export", "", "", ALL_ONES, ALL_ONES),)
BACKUP = DataStartBackupRequest("tar", ENV)
RECOVER = DataStartRecoverRequest(ENV, EVERYTHING, "tar")


def data_in(state: DataState, version: Version = Version.V4, recover: bool = False) -> Dma:
    """A session whose DATA, on TCP, is in ``state``."""
    dma = Dma(version)
    if state == DataState.IDLE:
        return dma
    assert dma.ask(DataListenRequest(AddrType.TCP)) is None
    dma.tell(events.DataListening((HERE,)))
    if state == DataState.LISTEN:
        return dma
    dma.tell(events.DataAccepted(PEER))
    if state == DataState.CONNECTED:
        return dma
    assert dma.ask(RECOVER if recover else BACKUP) is None
    dma.tell(events.DataStarted())
    if state == DataState.HALTED:
        dma.tell(events.DataHalted(DataHaltReason.SUCCESSFUL))
    assert dma.session.data_state == state
    return dma


def mover_in(state: MoverState, version: Version = Version.V4, mode: MoverMode = MoverMode.READ) -> Dma:
    """A session whose MOVER, on TCP with a tape open for writing, is in ``state``."""
    dma = Dma(version)
    dma.open_tape()
    assert dma.ask(MoverSetRecordSizeRequest(RECORD)) == Error.NO_ERR
    assert dma.ask(MoverSetWindowRequest(0, ALL_ONES)) == Error.NO_ERR
    if state == MoverState.IDLE:
        return dma
    assert dma.ask(MoverListenRequest(mode, AddrType.TCP)) is None
    dma.tell(events.MoverListening((HERE,)))
    if state == MoverState.LISTEN:
        return dma
    dma.tell(events.MoverAccepted(PEER))
    if state == MoverState.PAUSED:
        dma.tell(events.MoverPaused(MoverPauseReason.EOM))
    elif state == MoverState.HALTED:
        dma.tell(events.MoverHalted(MoverHaltReason.CONNECT_CLOSED))
    assert dma.session.mover_state == state
    return dma


def joined(mode: MoverMode = MoverMode.READ, version: Version = Version.V4, mover_calls: bool = False) -> Dma:
    """A session whose DATA and MOVER were joined by LOCAL just now."""
    dma = Dma(version)
    dma.open_tape()
    assert dma.ask(MoverSetRecordSizeRequest(RECORD)) == Error.NO_ERR
    if mover_calls:
        assert dma.ask(DataListenRequest(AddrType.LOCAL)) == Error.NO_ERR
        assert dma.ask(MoverConnectRequest(mode, LOCAL)) == Error.NO_ERR
    else:
        assert dma.ask(MoverListenRequest(mode, AddrType.LOCAL)) == Error.NO_ERR
        assert dma.ask(DataConnectRequest(LOCAL)) == Error.NO_ERR
    return dma


def joined_and_started(mode: MoverMode, version: Version = Version.V4) -> Dma:
    dma = joined(mode, version)
    assert dma.ask(BACKUP if mode == MoverMode.READ else RECOVER) is None
    dma.tell(events.DataStarted())
    assert dma.session.data_state == DataState.ACTIVE
    return dma
