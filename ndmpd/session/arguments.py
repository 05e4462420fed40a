"""Arguments that make a request senseless in any state: refused before the state is looked at.

Each check takes the decoded request. What depends on the state (a window while PAUSED) is the handler's.
"""

from __future__ import annotations

from collections.abc import Callable

from ndmpd.session.facts import ServerFacts
from ndmpd.session.refused import Refused
from ndmpd.session.spans import check_read, check_window
from protocol.ndmp.address import Address
from protocol.ndmp.codes import AddrType, Error, MoverMode, TapeMtioOp, TapeOpenMode, Version
from protocol.ndmp.data import DataConnectRequest, DataListenRequest, DataStartRecoverRequest
from protocol.ndmp.message import Message
from protocol.ndmp.mover import (
    MoverConnectRequest,
    MoverListenRequest,
    MoverReadRequest,
    MoverSetRecordSizeRequest,
    MoverSetWindowRequest,
)
from protocol.ndmp.tape import TapeMtioRequest, TapeOpenRequest

Check = Callable[[Message, Version, ServerFacts], None]

TAPE_MODES = {
    Version.V3: frozenset({TapeOpenMode.READ, TapeOpenMode.RDWR}),
    Version.V4: frozenset(TapeOpenMode),
}
TAPE_OPERATIONS = {
    Version.V3: frozenset(TapeMtioOp) - {TapeMtioOp.TUR},
    Version.V4: frozenset(TapeMtioOp),
}


def _refuse(text: str) -> None:
    raise Refused(Error.ILLEGAL_ARGS, text)


def _addr_type(addr_type: AddrType | int) -> None:
    if addr_type not in (AddrType.LOCAL, AddrType.TCP):
        _refuse(f"address type {int(addr_type)} is not supported; use LOCAL or TCP")


def _address(address: Address) -> None:
    _addr_type(address.addr_type)
    if address.addr_type == AddrType.TCP and not address.tcp:
        _refuse("a TCP address without an IP address and a port leads nowhere")


def _mode(mode: MoverMode | int) -> None:
    if mode not in (MoverMode.READ, MoverMode.WRITE):
        _refuse(f"mover mode {int(mode)} is not READ or WRITE")


def listens(request: Message, version: Version, server: ServerFacts) -> None:
    assert isinstance(request, DataListenRequest)
    _addr_type(request.addr_type)


def connects(request: Message, version: Version, server: ServerFacts) -> None:
    assert isinstance(request, DataConnectRequest)
    _address(request.addr)


def recovers(request: Message, version: Version, server: ServerFacts) -> None:
    """3.5.2.4: at least one name. RECOVER_FILEHIST goes without: ndmjob sends an empty list for all."""
    assert isinstance(request, DataStartRecoverRequest)
    if not request.nlist:
        _refuse("DATA_START_RECOVER names nothing to recover; an empty original_path stands for everything")


def mover_listens(request: Message, version: Version, server: ServerFacts) -> None:
    assert isinstance(request, MoverListenRequest)
    _mode(request.mode)
    _addr_type(request.addr_type)


def mover_connects(request: Message, version: Version, server: ServerFacts) -> None:
    assert isinstance(request, MoverConnectRequest)
    _mode(request.mode)
    _address(request.addr)


def sets_record_size(request: Message, version: Version, server: ServerFacts) -> None:
    assert isinstance(request, MoverSetRecordSizeRequest)
    if not server.min_record_size <= request.len <= server.max_record_size:
        _refuse(f"a record of {request.len} bytes is not between {server.min_record_size} and "
                f"{server.max_record_size}")


def sets_window(request: Message, version: Version, server: ServerFacts) -> None:
    assert isinstance(request, MoverSetWindowRequest)
    check_window(request.offset, request.length)


def reads(request: Message, version: Version, server: ServerFacts) -> None:
    assert isinstance(request, MoverReadRequest)
    check_read(request.offset, request.length)


def opens_tape(request: Message, version: Version, server: ServerFacts) -> None:
    assert isinstance(request, TapeOpenRequest)
    if request.mode not in TAPE_MODES[version]:
        _refuse(f"tape mode {int(request.mode)} does not exist in version {version:d}")


def moves_tape(request: Message, version: Version, server: ServerFacts) -> None:
    assert isinstance(request, TapeMtioRequest)
    if request.tape_op not in TAPE_OPERATIONS[version]:
        _refuse(f"tape operation {int(request.tape_op)} does not exist in version {version:d}")
