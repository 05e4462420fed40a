"""Restore and toc against a scripted server: which cartridge, which bytes, and which verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from ndmpd.client.catalogue import Catalogue, Medium
from ndmpd.client.connection import Stop
from ndmpd.client.errors import ExitStatus, JobFailed
from ndmpd.client.history import History
from ndmpd.client.jobs import Tapes, run_toc
from ndmpd.client.observer import Observer
from ndmpd.client.restore import RestoreOrder, Wanted
from protocol.ndmp.codes import (
    Code,
    Error,
    FsType,
    MoverPauseReason,
    RecoveryStatus,
    TapeMtioOp,
)
from protocol.ndmp.data import DataStartRecoverRequest
from protocol.ndmp.filehist import FhAddFilePost, File, FileName
from protocol.ndmp.log import LogFilePost
from protocol.ndmp.mover import MoverReadReply, MoverReadRequest
from protocol.ndmp.notify import NotifyDataReadPost
from tests.client.fake_server import RECORD, Filer
from tests.client.runs import (
    ALL,
    MEDIA,
    TWO_DRIVES,
    connected,
    drives,
    restore,
    tape_operations,
    windows,
)


def recovered(it: Filer, name: str = "", status: RecoveryStatus = RecoveryStatus.SUCCESSFUL) -> None:
    it.post("data", Code.LOG_FILE, LogFilePost(name, status))


def test_a_read_notice_becomes_a_mover_read_and_seek_picks_the_cartridge() -> None:
    filer = Filer()

    def start(it: Filer) -> None:
        it.post("data", Code.NOTIFY_DATA_READ, NotifyDataReadPost(4 * RECORD, 100))

    def resume(it: Filer) -> None:
        recovered(it)
        it.end(5)

    filer.hooks[Code.DATA_START_RECOVER] = start
    filer.hooks[Code.MOVER_READ] = lambda it: it.pause(MoverPauseReason.SEEK, 0, seek=4 * RECORD)
    filer.hooks[Code.MOVER_CONTINUE] = resume
    report = restore(filer, local=False)
    assert filer.sent(MoverReadRequest) == [MoverReadRequest(4 * RECORD, 100)]
    assert windows(filer) == [(0, 3 * RECORD), (3 * RECORD, 2 * RECORD)]
    assert drives(filer) == ["tape0", "tape1"]
    assert (TapeMtioOp.FSF, 1) in tape_operations(filer)
    assert report.exit_status == ExitStatus.OK


def test_a_read_that_crosses_another_is_asked_for_again() -> None:
    filer = Filer()
    filer.answers[Code.MOVER_READ] = MoverReadReply(Error.READ_IN_PROGRESS)

    def start(it: Filer) -> None:
        it.post("data", Code.NOTIFY_DATA_READ, NotifyDataReadPost(0, ALL))

    def read(it: Filer) -> None:
        if it.log.count("MOVER_READ") == 2:
            it.answers[Code.MOVER_READ] = MoverReadReply()
            recovered(it)
            it.end(5)

    filer.hooks[Code.DATA_START_RECOVER] = start
    filer.hooks[Code.MOVER_READ] = read
    assert restore(filer, local=False).exit_status == ExitStatus.OK
    assert filer.log.count("MOVER_READ") == 2


def test_with_local_addresses_the_server_reads_by_itself() -> None:
    filer = Filer()

    def start(it: Filer) -> None:
        it.post("data", Code.NOTIFY_DATA_READ, NotifyDataReadPost(0, ALL))
        recovered(it)
        it.end(5)

    filer.hooks[Code.DATA_START_RECOVER] = start
    assert restore(filer).exit_status == ExitStatus.OK
    assert "MOVER_READ" not in filer.log


@pytest.mark.parametrize("reason", [MoverPauseReason.EOF, MoverPauseReason.EOM])
def test_the_end_of_the_last_cartridge_closes_the_mover(reason: MoverPauseReason) -> None:
    filer = Filer()
    filer.hooks[Code.DATA_START_RECOVER] = lambda it: it.pause(reason, 3)

    def resume(it: Filer) -> None:
        it.pause(reason, 5)

    def close(it: Filer) -> None:
        recovered(it)
        it.halt_data()

    filer.hooks[Code.MOVER_CONTINUE] = resume
    filer.hooks[Code.MOVER_CLOSE] = close
    assert restore(filer).exit_status == ExitStatus.OK
    assert drives(filer) == ["tape0", "tape1"]
    assert filer.log.count("MOVER_CLOSE") == 1


def test_a_seek_behind_the_last_byte_closes_the_mover() -> None:
    filer = Filer()
    filer.hooks[Code.DATA_START_RECOVER] = lambda it: it.pause(MoverPauseReason.SEEK, 5, seek=5 * RECORD)
    filer.hooks[Code.MOVER_CLOSE] = lambda it: it.halt_data()
    restore(filer)
    assert "MOVER_CLOSE" in filer.log


def test_direct_access_begins_with_the_cartridge_that_is_needed() -> None:
    filer = Filer()

    def start(it: Filer) -> None:
        recovered(it, "/a")
        it.end(5)

    filer.hooks[Code.DATA_START_RECOVER] = start
    restore(filer, wanted=(Wanted("/a", "/to/a", fh_info=4 * RECORD),))
    assert drives(filer) == ["tape1"]
    assert windows(filer) == [(3 * RECORD, 2 * RECORD)]


def test_a_cartridge_that_is_shorter_than_the_catalogue_says_is_not_changed_for_ever() -> None:
    filer = Filer()
    filer.hooks[Code.DATA_START_RECOVER] = lambda it: it.pause(MoverPauseReason.SEEK, 2, seek=2 * RECORD)
    filer.hooks[Code.MOVER_CONTINUE] = lambda it: it.pause(MoverPauseReason.SEEK, 2, seek=2 * RECORD)
    with pytest.raises(JobFailed, match="ends before byte"):
        restore(filer)
    assert filer.mover.state == 0


def test_without_a_catalogue_the_next_cartridge_goes_on_where_the_last_ended() -> None:
    filer = Filer()
    filer.hooks[Code.DATA_START_RECOVER] = lambda it: it.pause(MoverPauseReason.EOF, 3)

    def resume(it: Filer) -> None:
        recovered(it)
        it.end(5)

    filer.hooks[Code.MOVER_CONTINUE] = resume
    unknown = (Medium("", "", 0, 0, ALL), Medium("", "", 0, 0, ALL))
    assert restore(filer, media=unknown, tapes=TWO_DRIVES).exit_status == ExitStatus.OK
    assert windows(filer) == [(0, ALL), (3 * RECORD, ALL - 3 * RECORD)]


def test_a_name_that_was_not_recovered_makes_the_restore_partial() -> None:
    filer = Filer()

    def start(it: Filer) -> None:
        recovered(it, "/a")
        recovered(it, "/b", RecoveryStatus.FAILED_NOT_FOUND)
        it.end(5)

    filer.hooks[Code.DATA_START_RECOVER] = start
    report = restore(filer, wanted=(Wanted("/a", ""), Wanted("/b", "")))
    assert report.exit_status == ExitStatus.PARTIAL
    assert report.failed == [("/b", int(RecoveryStatus.FAILED_NOT_FOUND))]
    assert report.document()["names_failed"] == [{"name": "/b", "status": "FAILED_NOT_FOUND"}]


def test_a_name_that_the_server_forgets_makes_the_restore_partial() -> None:
    filer = Filer()

    def start(it: Filer) -> None:
        recovered(it, "/a")
        it.end(5)

    filer.hooks[Code.DATA_START_RECOVER] = start
    assert restore(filer, wanted=(Wanted("/a", ""), Wanted("/b", ""))).exit_status == ExitStatus.PARTIAL


def test_a_mover_that_overlooks_the_end_is_closed() -> None:
    filer = Filer()

    def start(it: Filer) -> None:
        recovered(it)
        it.halt_data()

    filer.hooks[Code.DATA_START_RECOVER] = start
    report = restore(filer)
    assert "MOVER_CLOSE" in filer.log
    assert report.exit_status == ExitStatus.OK


def test_get_env_refused_after_a_recover_is_no_failure() -> None:
    filer = Filer()
    filer.refuse[Code.DATA_GET_ENV] = [Error.ILLEGAL_STATE]

    def start(it: Filer) -> None:
        recovered(it)
        it.end(5)

    filer.hooks[Code.DATA_START_RECOVER] = start
    assert restore(filer).exit_status == ExitStatus.OK


def test_the_names_go_out_with_their_place_in_the_stream() -> None:
    filer = Filer()
    filer.hooks[Code.DATA_START_RECOVER] = lambda it: it.end(5)
    restore(filer, wanted=(Wanted("/a", "/to/a", fh_info=512, node=7), Wanted("/b", "")))
    (request,) = filer.sent(DataStartRecoverRequest)
    assert isinstance(request, DataStartRecoverRequest)
    assert [(each.original_path, each.destination_path, each.node, each.fh_info)
            for each in request.nlist] == [("/a", "/to/a", 7, 512), ("/b", "", ALL, ALL)]


def test_reading_the_table_of_contents_sends_no_names_and_fills_the_catalogue(tmp_path: Path) -> None:
    filer, stop = Filer(), Stop()

    def start(it: Filer) -> None:
        file = File((FileName(FsType.UNIX, "/x"),), (), 1, ALL)
        it.post("data", Code.FH_ADD_FILE, FhAddFilePost((file,)))
        it.end(5)

    filer.hooks[Code.DATA_START_RECOVER_FILEHIST] = start
    with Catalogue.open(tmp_path / "c", create=True) as catalogue, connected(filer, stop) as servers:
        number = catalogue.begin(data_server="", tape_server="", ndmp_version=4, butype="tar", filesystem="",
                                 record_size=RECORD)
        report = run_toc(servers, Tapes(), RestoreOrder("tar", (), RECORD, MEDIA), stop=stop,
                         observer=Observer(), catalogue=catalogue, number=number)
        assert [entry.path for entry in History(catalogue, number).entries()] == ["/x"]
    assert report.exit_status == ExitStatus.OK
