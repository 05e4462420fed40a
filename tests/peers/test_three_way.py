"""DATA on one server, MOVER on another, and peers on the data connection that are late, lost or strangers.

Two servers with a state folder each, which cannot tell that they run on one machine: real TCP between them.
Then this server at one end, and ndmjob's own at the other. Of that one is known: it has no DATA_LISTEN, its
mover reads from record borders only, and its formatter is a program of the harness around GNU tar.
"""

from __future__ import annotations

import socket
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from _pytest.mark import ParameterSet

from ndmpd.client.agents import DataAgent, MoverAgent, TapeAgent
from ndmpd.client.connection import Connection
from ndmpd.client.errors import Refused
from ndmpd.client.servers import Login
from ndmpd.client.url import ServerUrl
from protocol.ndmp.address import Address, TcpAddress
from protocol.ndmp.codes import (
    AddrType,
    DataHaltReason,
    DataState,
    Error,
    MoverHaltReason,
    MoverMode,
    MoverState,
    TapeMtioOp,
    TapeOpenMode,
    Version,
)
from protocol.ndmp.data import Name
from tests.peers.conftest import Serving
from tests.peers.ndmjob import Agent, Job, Ndmjob
from tests.peers.ndmjob_index import Index
from tests.peers.ndmpc import Ndmpc, url
from tests.peers.reference import ReferenceServer
from tests.peers.server import EmbeddedServer, free_port
from tests.peers.spanning import (
    CAPACITY,
    CARTRIDGES,
    SLOTS,
    Placement,
    fill_disk,
    first_difference,
    make_tree,
    media_sizes,
    records_until_full,
)
from tests.trees.comparison import compare, compare_entry

pytestmark = [pytest.mark.peer, pytest.mark.timeout(120)]

BLOCKS = 126
RECORD = BLOCKS * 512
WHOLE = (1 << 64) - 1
FREE = [slot for slot in SLOTS if slot != SLOTS[1]]
"""Slots with a cartridge while ``tape0`` is empty."""
REACHED = [name for name in CARTRIDGES if name != CARTRIDGES[1]]
"""``tape1`` keeps its cartridge."""
ROBOT = ("--drive", "tape0", "--changer", "mc0",
         *(word for name in REACHED for word in ("--cartridge", name)))
PATIENCE = 15.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pair:
    """``disks`` has what is backed up, ``tapes`` the cartridges."""

    disks: EmbeddedServer
    tapes: EmbeddedServer
    tree: Path
    place: Path


@pytest.fixture(scope="module")
def pair(folder: Path, serving: Serving) -> Iterator[Pair]:
    # The tests of a module may be shared out so that a process comes to it twice.
    place = Path(tempfile.mkdtemp(prefix="three-way-", dir=folder))
    (place / "restored").mkdir()
    tree = make_tree(place / "tree")
    with (
        serving(place / "disks", tree, place / "restored", capacity=CAPACITY) as disks,
        serving(place / "tapes", capacity=CAPACITY) as tapes,
    ):
        fill_disk(disks.disk("disk0"), 17 << 20)
        yield Pair(disks, tapes, tree, place)


@pytest.fixture
def empty_drive(ndmjob: Ndmjob, pair: Pair) -> None:
    """ndmjob's robot jobs want the drive empty; others leave a cartridge in it."""
    assert ndmjob.robot(pair.tapes.agent(4), "mc0", "-Z").completed


def destination(pair: Pair, butype: str, name: str) -> str:
    if butype == "image":
        fill_disk(pair.disks.disk("disk1"), 8 << 20, seed=7)
        return "/vol/disk1"
    return str(pair.place / "restored" / name)


def check_restored(pair: Pair, butype: str, to: str) -> None:
    if butype == "image":
        assert first_difference(pair.disks.disk("disk0"), pair.disks.disk("disk1")) is None
    else:
        assert compare(pair.tree, Path(to)).found == []


def joined(data: int, tape: int, butype: str, swapped: bool, *marks: pytest.MarkDecorator) -> ParameterSet:
    name = f"v{data}-v{tape}-{butype}-{'data' if swapped else 'mover'}-listens"
    return pytest.param(data, tape, butype, swapped, id=name, marks=marks)


@pytest.mark.needs("ndmjob")
@pytest.mark.parametrize(("data", "tape", "butype", "swapped"), [
    joined(4, 4, "tar", False), joined(4, 3, "tar", True), joined(3, 4, "image", False),
    joined(3, 3, "image", True), joined(4, 4, "image", True, pytest.mark.slow),
    joined(3, 3, "tar", False, pytest.mark.slow), joined(4, 3, "image", False, pytest.mark.slow),
    joined(3, 4, "tar", True, pytest.mark.slow), joined(4, 4, "tar", True, pytest.mark.slow),
    joined(3, 3, "image", False, pytest.mark.slow),
])
def test_ndmjob_joins_two_servers(
    ndmjob: Ndmjob, pair: Pair, empty_drive: None, data: int, tape: int, butype: str, swapped: bool
) -> None:
    name = f"ndmjob-{data}-{tape}-{butype}-{swapped}"
    job = Job(pair.disks.agent(data), "tape0", butype, pair.tapes.agent(tape), BLOCKS,
              tuple(f"@{slot}" for slot in FREE), 60, "mc0", swapped)
    source = str(pair.tree) if butype == "tar" else "/vol/disk0"
    index = pair.place / f"{name}.index"
    backup = ndmjob.backup(job, source, index)
    assert backup.succeeded, backup.explain()
    saved = Index.read(index)
    sizes = media_sizes(saved.media)
    assert sizes[:-1] == [records_until_full(RECORD) * RECORD] * 2
    to = destination(pair, butype, name)
    restore = ndmjob.restore(job, to, index=index)
    assert restore.succeeded, restore.explain()
    check_restored(pair, butype, to)
    if butype == "tar":
        offsets = {path.decode(): at for path, at in saved.offsets.items() if at is not None}
        placement = Placement(sizes, offsets)
        chosen = [placement.straddling(0), placement.on(2)[-2]]
        direct = pair.place / "restored" / f"{name}-direct"
        names = [f"/{number}={old}" for number, old in enumerate(chosen)]
        restore = ndmjob.restore(job, str(direct), names, index, {"DIRECT": "y"})
        assert restore.succeeded, restore.explain()
        for number, old in enumerate(chosen):
            assert compare_entry(f"{pair.tree}{old}", direct / str(number)).found == []


@pytest.mark.parametrize("swapped", [False, True], ids=["mover-listens", "data-listens"])
@pytest.mark.parametrize("butype", ["tar", "image"])
@pytest.mark.parametrize("version", [3, 4])
def test_ndmpc_joins_two_servers(pair: Pair, version: int, butype: str, swapped: bool) -> None:
    if swapped and version == 3:
        pytest.skip("version 3 does not say when a connecting mover gets its window")
    name = f"ndmpc-{version}-{butype}-{swapped}"
    options = (*ROBOT[:4], *(["--swap-connect"] if swapped else []))
    dma = Ndmpc(pair.disks.agent(version), pair.tapes.agent(version), options)
    catalogue = pair.place / f"{name}.catalogue"
    source = str(pair.tree) if butype == "tar" else "/vol/disk0"
    report = dma.backup(source, catalogue, "-B", butype, *ROBOT[4:])
    assert len(report["cartridges"]) == 3
    to = destination(pair, butype, name)
    dma.restore(catalogue, "--to", to)
    check_restored(pair, butype, to)
    if butype == "tar":
        dma.restore(catalogue, f"{to}-direct=part 07")
        assert compare_entry(pair.tree / "part 07", f"{to}-direct").found == []


@pytest.mark.needs("ndmjob", "tar")
@pytest.mark.parametrize("version", [3, 4])
def test_the_mover_of_ndmjobs_server_takes_our_data_and_gives_them_back(
    ndmjob: Ndmjob, pair: Pair, reference: ReferenceServer, version: int
) -> None:
    job = Job(pair.disks.agent(version), str(reference.tape()), "tar", reference.agent(version), BLOCKS)
    index = pair.place / f"their-mover-{version}.index"
    backup = ndmjob.backup(job, str(pair.tree), index)
    assert backup.succeeded, backup.explain()
    to = pair.place / "restored" / f"their-mover-{version}"
    restore = ndmjob.restore(job, str(to), index=index)
    assert restore.succeeded, restore.explain()
    assert compare(pair.tree, to).found == []


@pytest.mark.needs("ndmjob", "tar")
@pytest.mark.parametrize("version", [3, 4])
def test_our_mover_takes_the_data_of_ndmjobs_server_and_gives_them_back(
    ndmjob: Ndmjob, pair: Pair, reference: ReferenceServer, empty_drive: None, version: int
) -> None:
    """Three cartridges of them; the DMA hands the mover one range, from 0 to the end."""
    job = Job(reference.agent(version), "tape0", "tar", pair.tapes.agent(version), BLOCKS,
              tuple(f"@{slot}" for slot in FREE), 60, "mc0")
    index = pair.place / f"their-data-{version}.index"
    backup = ndmjob.backup(job, str(pair.tree), index)
    assert backup.succeeded, backup.explain()
    sizes = media_sizes(Index.read(index).media)
    assert sizes[:-1] == [records_until_full(RECORD) * RECORD] * 2
    to = pair.place / "restored" / f"their-data-{version}"
    to.mkdir()
    restore = ndmjob.restore(job, str(to), index=index)
    assert restore.succeeded, restore.explain()
    assert compare(pair.tree, to).found == []


# What follows speaks to one server and plays the other end of the data connection itself.


@contextmanager
def session(agent: Agent) -> Iterator[Connection]:
    login = Login(ServerUrl.parse(url(agent)), agent.password, version=Version(agent.version))
    connection = login.open()
    try:
        yield connection
    finally:
        connection.close()


def eventually(look: Callable[[], T], wanted: Callable[[T], bool]) -> T:
    """What ``look`` says as soon as it is ``wanted``."""
    deadline = time.monotonic() + PATIENCE
    while not wanted(found := look()):
        assert time.monotonic() < deadline, f"still {found}"
        time.sleep(0.05)
    return found


def mover_in(mover: MoverAgent, state: MoverState) -> MoverHaltReason | int:
    return eventually(mover.get_state, lambda found: found.state == state).halt_reason


def data_in(data: DataAgent, state: DataState) -> DataHaltReason | int:
    return eventually(data.get_state, lambda found: found.state == state).halt_reason


def place_of(address: Address) -> tuple[str, int]:
    return socket.inet_ntoa(struct.pack("!I", address.tcp[0].ip)), address.tcp[0].port


def refused(place: tuple[str, int]) -> bool:
    """Whether nobody takes connections there, or only to drop them."""
    try:
        with socket.create_connection(place, 5) as connection:
            connection.settimeout(5)
            return connection.recv(1) == b""
    except ConnectionError:
        return True


@pytest.fixture(scope="module")
def loaded(pair: Pair) -> EmbeddedServer:
    """The server with tapes; ``tape1`` has a cartridge that no robot job here asks for."""
    return pair.tapes


@contextmanager
def listening(agent: Agent, mode: MoverMode) -> Iterator[tuple[Connection, MoverAgent, TapeAgent, Address]]:
    with session(agent) as connection:
        mover, tape = MoverAgent(connection), TapeAgent(connection)
        mover.set_record_size(10240)
        tape.open("tape1", TapeOpenMode.RDWR)
        tape.mtio(TapeMtioOp.REW)
        if connection.version == Version.V4:
            mover.set_window(0, WHOLE)
        address = mover.listen(mode, AddrType.TCP)
        if connection.version == Version.V3:
            mover.set_window(0, WHOLE)
        yield connection, mover, tape, address


both_versions = pytest.mark.parametrize("version", [3, 4])


@both_versions
def test_a_peer_that_is_late_is_waited_for(loaded: EmbeddedServer, version: int) -> None:
    with listening(loaded.agent(version), MoverMode.READ) as (_, mover, tape, address):
        time.sleep(2)
        assert mover.get_state().state == MoverState.LISTEN
        with socket.create_connection(place_of(address), 5) as peer:
            mover_in(mover, MoverState.ACTIVE)
            peer.sendall(bytes(25_000))
        assert mover_in(mover, MoverState.HALTED) == MoverHaltReason.CONNECT_CLOSED
        state = mover.get_state()
        assert (state.bytes_moved, state.record_num) == (25_000, 3)
        assert tape.get_state().blockno == 3


@both_versions
def test_a_peer_is_there_as_soon_as_its_connection_is_made(pair: Pair, version: int) -> None:
    """DMAs send the next request with the reply to MOVER_CONNECT in hand, and do not ask for the state."""
    with session(pair.disks.agent(version)) as connection:
        data = DataAgent(connection)
        for _ in range(10):
            address = data.listen(AddrType.TCP)
            with socket.create_connection(place_of(address), 5):
                data.start_backup("tar", [("FILESYSTEM", str(pair.tree)), ("HIST", "n")])
                data.abort()
            data_in(data, DataState.HALTED)
            data.stop()


@both_versions
def test_a_second_peer_is_turned_away(loaded: EmbeddedServer, version: int) -> None:
    with listening(loaded.agent(version), MoverMode.READ) as (_, mover, _tape, address):
        with socket.create_connection(place_of(address), 5) as peer:
            mover_in(mover, MoverState.ACTIVE)
            assert refused(place_of(address))
            peer.sendall(bytes(10240))
            eventually(lambda: mover.get_state().bytes_moved, lambda moved: moved == 10240)
        assert mover_in(mover, MoverState.HALTED) == MoverHaltReason.CONNECT_CLOSED


@both_versions
@pytest.mark.parametrize("mode", [MoverMode.READ, MoverMode.WRITE])
def test_nobody_comes_and_an_abort_frees_the_port(
    loaded: EmbeddedServer, version: int, mode: MoverMode
) -> None:
    with listening(loaded.agent(version), mode) as (_, mover, tape, address):
        mover.abort()
        state = mover.get_state()
        assert (state.state, state.halt_reason) == (MoverState.HALTED, MoverHaltReason.ABORTED)
        assert refused(place_of(address))
        mover.stop()
        assert mover.get_state().state == MoverState.IDLE
        if version == 4:
            mover.set_window(0, WHOLE)
        again = mover.listen(mode, AddrType.TCP)
        with socket.create_connection(place_of(again), 5):
            mover_in(mover, MoverState.ACTIVE)
        assert mover_in(mover, MoverState.HALTED) == MoverHaltReason.CONNECT_CLOSED
        tape.close()


@both_versions
def test_nobody_comes_to_data_and_an_abort_frees_the_port(pair: Pair, version: int) -> None:
    with session(pair.disks.agent(version)) as connection:
        data = DataAgent(connection)
        for _ in range(2):
            address = data.listen(AddrType.TCP)
            assert data.get_state().state == DataState.LISTEN
            data.abort()
            state = data.get_state()
            assert (state.state, state.halt_reason) == (DataState.HALTED, DataHaltReason.ABORTED)
            assert refused(place_of(address))
            data.stop()
            assert data.get_state().state == DataState.IDLE


@pytest.mark.parametrize("mode", [MoverMode.READ, MoverMode.WRITE])
def test_a_dma_that_goes_while_the_mover_listens_leaves_port_and_drive_free(
    loaded: EmbeddedServer, mode: MoverMode
) -> None:
    with listening(loaded.agent(4), mode) as (connection, _, _tape, address):
        connection.drop()
        eventually(lambda: refused(place_of(address)), bool)
    with listening(loaded.agent(4), mode):
        pass  # TAPE_OPEN finds the drive free


@both_versions
def test_a_place_where_nobody_listens_is_told_and_nothing_changes(
    pair: Pair, loaded: EmbeddedServer, version: int
) -> None:
    nowhere = Address(AddrType.TCP, (TcpAddress(0x7F000001, free_port()),))
    with session(pair.disks.agent(version)) as connection:
        data = DataAgent(connection)
        with pytest.raises(Refused) as refusal:
            data.connect(nowhere)
        assert refusal.value.error == Error.CONNECT
        assert data.get_state().state == DataState.IDLE
        data.listen(AddrType.TCP)
        data.abort()
        data.stop()
    with session(loaded.agent(version)) as connection:
        mover, tape = MoverAgent(connection), TapeAgent(connection)
        mover.set_record_size(10240)
        tape.open("tape1", TapeOpenMode.RDWR)
        if version == 4:
            mover.set_window(0, WHOLE)
        for mode in (MoverMode.READ, MoverMode.WRITE):
            with pytest.raises(Refused) as refusal:
                mover.connect(mode, nowhere)
            assert refusal.value.error == Error.CONNECT
            assert mover.get_state().state == MoverState.IDLE
        mover.listen(MoverMode.READ, AddrType.TCP)
        mover.abort()


def reset(connection: socket.socket) -> None:
    """Close with RST instead of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_a_peer_that_is_cut_off_is_no_success_for_the_mover(loaded: EmbeddedServer) -> None:
    with listening(loaded.agent(4), MoverMode.READ) as (_, mover, tape, address):
        peer = socket.create_connection(place_of(address), 5)
        peer.sendall(bytes(10240))
        eventually(lambda: mover.get_state().bytes_moved, lambda moved: moved == 10240)
        reset(peer)
        assert mover_in(mover, MoverState.HALTED) == MoverHaltReason.CONNECT_ERROR
        assert tape.get_state().blockno == 1


@pytest.mark.parametrize("how", [reset, socket.socket.close])
def test_a_mover_that_goes_in_the_middle_is_no_success_for_data(
    pair: Pair, how: Callable[[socket.socket], None]
) -> None:
    with session(pair.disks.agent(4)) as connection:
        data = DataAgent(connection)
        peer = socket.create_connection(place_of(data.listen(AddrType.TCP)), 5)
        data_in(data, DataState.CONNECTED)
        data.start_backup("tar", [("FILESYSTEM", str(pair.tree)), ("HIST", "n")])
        assert len(peer.recv(1 << 16)) > 0
        how(peer)
        assert data_in(data, DataState.HALTED) == DataHaltReason.CONNECT_ERROR
        data.stop()


@pytest.mark.parametrize("stream", [b"", b"nonsense " * 10_000], ids=["nothing", "nonsense"])
def test_a_stream_that_is_none_is_not_recovered_from(pair: Pair, stream: bytes) -> None:
    """A peer that was not the mover: what it sends is no backup, and is not taken for an empty one."""
    to = pair.place / "restored" / f"stranger {len(stream)}"
    with session(pair.disks.agent(4)) as connection:
        data = DataAgent(connection)
        peer = socket.create_connection(place_of(data.listen(AddrType.TCP)), 5)
        data_in(data, DataState.CONNECTED)
        data.start_recover("tar", [("FILESYSTEM", str(pair.tree))],
                           [Name("", str(to), "", "", WHOLE, WHOLE)])
        peer.sendall(stream)
        peer.close()
        assert data_in(data, DataState.HALTED) != DataHaltReason.SUCCESSFUL
        data.stop()


def test_an_abort_of_data_does_not_wait_for_a_peer_that_stopped_reading(pair: Pair) -> None:
    with session(pair.disks.agent(4)) as connection:
        data = DataAgent(connection)
        with socket.create_connection(place_of(data.listen(AddrType.TCP)), 5):
            data_in(data, DataState.CONNECTED)
            data.start_backup("tar", [("FILESYSTEM", str(pair.tree)), ("HIST", "n")])
            began = time.monotonic()
            data.abort()
            assert data_in(data, DataState.HALTED) == DataHaltReason.ABORTED
            assert time.monotonic() - began < 5
        data.stop()
        assert data.get_state().state == DataState.IDLE


def test_an_abort_of_the_mover_does_not_wait_for_a_peer_that_is_silent(loaded: EmbeddedServer) -> None:
    with listening(loaded.agent(4), MoverMode.READ) as (_, mover, tape, address):
        with socket.create_connection(place_of(address), 5) as peer:
            peer.sendall(bytes(10240 + 1))
            eventually(lambda: mover.get_state().bytes_moved, lambda moved: moved == 10240)
            abort_at_once(mover)
            assert peer.recv(1) == b""
        assert tape.get_state().blockno == 1


def test_an_abort_of_the_mover_does_not_wait_for_a_peer_that_stopped_reading(loaded: EmbeddedServer) -> None:
    with listening(loaded.agent(4), MoverMode.READ) as (_, mover, tape, address):
        with socket.create_connection(place_of(address), 5) as peer:
            peer.sendall(bytes(6 << 20))
        assert mover_in(mover, MoverState.HALTED) == MoverHaltReason.CONNECT_CLOSED
        mover.stop()
        tape.mtio(TapeMtioOp.REW)
        mover.set_window(0, WHOLE)
        with socket.socket() as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.connect(place_of(mover.listen(MoverMode.WRITE, AddrType.TCP)))
            mover_in(mover, MoverState.ACTIVE)
            mover.read(0, WHOLE)
            assert len(peer.recv(100)) == 100
            abort_at_once(mover)


def abort_at_once(mover: MoverAgent) -> None:
    began = time.monotonic()
    mover.abort()
    assert mover_in(mover, MoverState.HALTED) == MoverHaltReason.ABORTED
    assert time.monotonic() - began < 5
    mover.stop()
    assert mover.get_state().state == MoverState.IDLE
