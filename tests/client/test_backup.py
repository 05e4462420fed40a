"""Backup against a scripted server: what is asked in which order, and what becomes of trouble."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ndmpd.client.backup import BackupOrder
from ndmpd.client.catalogue import Catalogue, Medium
from ndmpd.client.connection import Stop
from ndmpd.client.errors import (
    ExitStatus,
    Interrupted,
    JobFailed,
    MediaError,
    Refused,
    Unreachable,
    WrongUsage,
)
from ndmpd.client.history import History
from ndmpd.client.jobs import Tapes, run_backup
from ndmpd.client.observer import Observer
from ndmpd.client.servers import Servers
from protocol.ndmp.codes import (
    Code,
    DataHaltReason,
    DataState,
    Error,
    FileStatUnsupported,
    FileType,
    FsType,
    LogType,
    MoverHaltReason,
    MoverPauseReason,
    TapeMtioOp,
)
from protocol.ndmp.data import DataStartBackupRequest
from protocol.ndmp.filehist import FhAddFilePost, File, FileName, FileStat
from protocol.ndmp.log import LogMessagePost
from protocol.ndmp.message import Pval
from tests.client.fake_server import RECORD, FakeServer, Filer
from tests.client.runs import (
    ALL,
    ORDER,
    TWO_DRIVES,
    backup,
    drives,
    tape_operations,
    windows,
)


def test_a_backup_asks_in_the_order_of_the_drafts_appendix() -> None:
    filer = Filer()
    filer.hooks[Code.DATA_START_BACKUP] = lambda it: it.end(3)
    report = backup(filer)
    assert filer.requests() == [
        "MOVER_SET_RECORD_SIZE", "TAPE_OPEN", "TAPE_MTIO", "MOVER_SET_WINDOW", "MOVER_LISTEN", "DATA_CONNECT",
        "DATA_START_BACKUP", "DATA_GET_ENV", "DATA_STOP", "MOVER_STOP", "TAPE_MTIO", "TAPE_MTIO",
        "TAPE_CLOSE", "CONNECT_CLOSE"]
    assert tape_operations(filer) == [(TapeMtioOp.REW, 1), (TapeMtioOp.EOF, 1), (TapeMtioOp.REW, 1)]
    assert windows(filer) == [(0, ALL)]
    assert report.exit_status == ExitStatus.OK
    assert report.media == [Medium("", "tape0", 0, 0, 3 * RECORD)]


def test_two_connections_meet_by_tcp_and_swapped_the_mover_connects() -> None:
    for swapped, expected in ((False, ["MOVER_SET_WINDOW", "MOVER_LISTEN", "DATA_CONNECT"]),
                              (True, ["MOVER_SET_WINDOW", "DATA_LISTEN", "MOVER_CONNECT"])):
        filer = Filer()
        filer.hooks[Code.DATA_START_BACKUP] = lambda it: it.end(1)
        assert backup(filer, local=False, swapped=swapped).exit_status == ExitStatus.OK
        log = filer.requests()
        begin = log.index("MOVER_SET_WINDOW")
        assert log[begin:begin + 3] == expected


@pytest.mark.parametrize("reason", [MoverPauseReason.EOM, MoverPauseReason.EOW])
def test_a_full_cartridge_is_followed_by_the_next_with_its_own_window(reason: MoverPauseReason,
                                                                     tmp_path: Path) -> None:
    filer = Filer()
    filer.environment = (Pval("FILESYSTEM", "/vol"), Pval("DUMP_DATE", "5"))
    filer.hooks[Code.DATA_START_BACKUP] = lambda it: it.pause(reason, 4)
    filer.hooks[Code.MOVER_CONTINUE] = lambda it: it.end(7, moved=7 * RECORD - 100)
    with Catalogue.open(tmp_path / "c", create=True) as catalogue:
        report = backup(filer, catalogue=catalogue)
        assert catalogue.media(1) == [Medium("", "tape0", 0, 0, 4 * RECORD),
                                      Medium("", "tape1", 0, 4 * RECORD, 3 * RECORD)]
        assert catalogue.environment(1) == [("FILESYSTEM", "/vol"), ("DUMP_DATE", "5")]
        assert catalogue.backup().bytes == 7 * RECORD - 100
    assert windows(filer) == [(0, ALL), (4 * RECORD, ALL - 4 * RECORD)]
    assert drives(filer) == ["tape0", "tape1"]
    assert report.exit_status == ExitStatus.OK
    assert report.remarks == []


def test_data_may_be_done_while_the_mover_still_holds_the_last_record() -> None:
    filer = Filer()

    def start(it: Filer) -> None:
        it.halt_data()
        it.pause(MoverPauseReason.EOM, 4)

    filer.hooks[Code.DATA_START_BACKUP] = start
    filer.hooks[Code.MOVER_CONTINUE] = lambda it: it.halt_mover(records=5)
    report = backup(filer)
    assert report.exit_status == ExitStatus.OK
    assert [each.window_length for each in report.media] == [4 * RECORD, RECORD]


def test_a_limit_is_a_window_of_whole_records() -> None:
    filer = Filer()
    filer.hooks[Code.DATA_START_BACKUP] = lambda it: it.end(1)
    backup(filer, order=replace(ORDER, limit=2 * RECORD + 17))
    assert windows(filer) == [(0, 2 * RECORD)]


def test_a_file_number_and_the_end_of_data_are_kept_with_the_cartridge() -> None:
    filer = Filer()
    filer.hooks[Code.DATA_START_BACKUP] = lambda it: it.end(1)
    report = backup(filer, order=replace(ORDER, file_number=2))
    assert report.media[0].file_number == 2
    assert tape_operations(filer)[:2] == [(TapeMtioOp.REW, 1), (TapeMtioOp.FSF, 2)]


def test_a_backup_paused_for_seek_has_no_remedy_and_leaves_nothing_held() -> None:
    filer = Filer()
    filer.hooks[Code.DATA_START_BACKUP] = lambda it: it.pause(MoverPauseReason.SEEK, 2)
    with pytest.raises(JobFailed, match="SEEK"):
        backup(filer, local=False)
    assert filer.requests()[-8:] == ["DATA_ABORT", "DATA_STOP", "MOVER_ABORT", "MOVER_STOP", "TAPE_MTIO",
                                     "TAPE_CLOSE", "CONNECT_CLOSE", "CONNECT_CLOSE"]


def test_a_medium_error_ends_the_data_side_too_and_is_a_failure() -> None:
    filer = Filer()
    filer.hooks[Code.DATA_START_BACKUP] = lambda it: it.halt_mover(MoverHaltReason.MEDIA_ERROR, records=2)
    report = backup(filer)
    assert "DATA_ABORT" in filer.log
    assert report.exit_status == ExitStatus.FAILED
    assert (report.data_halt, report.mover_halt) == ("ABORTED", "MEDIA_ERROR")


def test_a_tape_that_fails_after_a_failed_job_does_not_hide_why_the_job_failed() -> None:
    filer = Filer()

    def halt(it: Filer) -> None:
        it.refuse[Code.TAPE_MTIO] = [Error.IO, Error.IO]
        it.halt_mover(MoverHaltReason.MEDIA_ERROR, records=2)

    filer.hooks[Code.DATA_START_BACKUP] = halt
    report = backup(filer)
    assert report.exit_status == ExitStatus.FAILED and report.mover_halt == "MEDIA_ERROR"
    assert any("TAPE_MTIO: IO" in remark for remark in report.remarks)
    assert "TAPE_CLOSE" in filer.log


def test_a_whole_backup_whose_file_mark_cannot_be_written_is_a_failure() -> None:
    filer = Filer()

    def end(it: Filer) -> None:
        it.refuse[Code.TAPE_MTIO] = [Error.IO]
        it.end(3)

    filer.hooks[Code.DATA_START_BACKUP] = end
    with pytest.raises(Refused, match="TAPE_MTIO: IO"):
        backup(filer)


def test_no_further_cartridge_stops_the_backup_and_the_catalogue_says_why(tmp_path: Path) -> None:
    filer = Filer()
    filer.hooks[Code.DATA_START_BACKUP] = lambda it: it.pause(MoverPauseReason.EOM, 4)
    with Catalogue.open(tmp_path / "c", create=True) as catalogue:
        with pytest.raises(MediaError, match="cartridge 2 is needed"):
            backup(filer, tapes=Tapes(("tape0",)), catalogue=catalogue)
        failed = catalogue.backup(1)
    assert failed.success == 0
    assert "cartridge 2 is needed" in (failed.problem or "")
    assert filer.log[-1] == "CONNECT_CLOSE"


def test_a_wish_to_stop_aborts_stops_and_closes() -> None:
    filer, stop = Filer(), Stop()

    def start(it: Filer) -> None:
        stop.requested = True

    filer.hooks[Code.DATA_START_BACKUP] = start
    with pytest.raises(Interrupted):
        backup(filer, stop=stop)
    log = filer.requests()
    for name in ("DATA_ABORT", "DATA_STOP", "MOVER_ABORT", "MOVER_STOP", "TAPE_CLOSE"):
        assert name in log
    assert log[-1] == "CONNECT_CLOSE"
    assert filer.data.state == 0 and filer.mover.state == 0


def test_history_that_comes_behind_the_halted_state_is_not_lost(tmp_path: Path) -> None:
    """All history is posted before NOTIFY_DATA_HALTED, but polling may show HALTED earlier."""
    filer = Filer()
    stats = FileStat(FileStatUnsupported(0), FsType.UNIX, FileType.REG, 5, 6, 7, 1, 2, 0o100644, 99, 1)

    def start(it: Filer) -> None:
        it.halt_mover(records=1)
        it.data = replace(it.data, state=DataState.HALTED, halt_reason=DataHaltReason.SUCCESSFUL)

    def look(it: Filer) -> None:
        if it.data.state == DataState.HALTED and "late" not in it.log:
            it.log.append("late")
            it.post("data", Code.FH_ADD_FILE, FhAddFilePost((
                File((FileName(FsType.UNIX, "/late"),), (stats,), 12, 512),)))
            it.halt_data()

    filer.hooks[Code.DATA_START_BACKUP] = start
    filer.hooks[Code.MOVER_GET_STATE] = look
    with Catalogue.open(tmp_path / "c", create=True) as catalogue:
        report = backup(filer, catalogue=catalogue)
        entry = History(catalogue, 1).lookup("/late")
    assert report.entries == 1
    assert entry is not None
    assert (entry.size, entry.mode, entry.fh_info, entry.node) == (99, 0o644, 512, 12)


def test_an_error_message_or_a_count_of_lost_files_makes_a_backup_partial() -> None:
    for message, count in ((True, None), (False, "2")):
        filer = Filer()

        def start(it: Filer, message: bool = message) -> None:
            if message:
                it.post("data", Code.LOG_MESSAGE, LogMessagePost(LogType.ERROR, 1, "/vol/x: unreadable"))
            it.end(1)

        filer.hooks[Code.DATA_START_BACKUP] = start
        if count:
            filer.environment = (Pval("FILES_FAILED", count),)
        report = backup(filer)
        assert report.exit_status == ExitStatus.PARTIAL
        assert report.lost == int(count or 1)


def test_a_warning_is_reported_and_does_not_make_a_backup_partial() -> None:
    filer = Filer()

    def start(it: Filer) -> None:
        it.post("data", Code.LOG_MESSAGE, LogMessagePost(LogType.WARNING, 1, "/vol/x: changed"))
        it.end(1)

    filer.hooks[Code.DATA_START_BACKUP] = start
    report = backup(filer)
    assert report.exit_status == ExitStatus.OK
    assert report.messages == [(int(LogType.WARNING), "/vol/x: changed")]


def test_a_refused_start_is_an_error_and_the_mover_is_brought_back() -> None:
    filer = Filer()
    filer.refuse[Code.DATA_START_BACKUP] = [Error.ILLEGAL_ARGS]
    with pytest.raises(Refused, match="DATA_START_BACKUP: ILLEGAL_ARGS"):
        backup(filer)
    assert filer.data.state == 0 and filer.mover.state == 0
    assert "TAPE_CLOSE" in filer.log


def test_environment_is_sent_in_order_and_as_given() -> None:
    filer = Filer()
    filer.hooks[Code.DATA_START_BACKUP] = lambda it: it.end(1)
    given = (("EXCLUDE", "*.o"), ("EXCLUDE", "b"), ("FILESYSTEM", "/v"))
    backup(filer, order=replace(ORDER, environment=given))
    (request,) = filer.sent(DataStartBackupRequest)
    assert isinstance(request, DataStartBackupRequest)
    assert request.env == (Pval("EXCLUDE", "*.o"), Pval("EXCLUDE", "b"), Pval("FILESYSTEM", "/v"))


@pytest.mark.parametrize("size", [0, 511, 700, (1 << 20) + 512])
def test_a_record_size_that_cannot_be_written_is_refused_at_once(size: int) -> None:
    with pytest.raises(WrongUsage, match="multiple of 512"):
        BackupOrder("tar", (), size)


def test_a_mover_that_counts_records_wrongly_is_remarked_upon() -> None:
    filer = Filer()
    filer.hooks[Code.DATA_START_BACKUP] = lambda it: it.end(3, moved=5 * RECORD)
    report = backup(filer)
    assert report.media[0].window_length == 5 * RECORD
    assert "the bytes are believed" in report.remarks[0]


def test_a_busy_drive_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ndmpd.client.media.BUSY", 0.0)
    filer = Filer()
    filer.refuse[Code.TAPE_OPEN] = [Error.DEVICE_BUSY]
    with pytest.raises(Refused, match="tape0 is in use by somebody else"):
        backup(filer)


def test_a_drive_that_becomes_free_soon_is_waited_for() -> None:
    filer = Filer()
    filer.refuse[Code.TAPE_OPEN] = [Error.DEVICE_BUSY]
    filer.hooks[Code.DATA_START_BACKUP] = lambda it: it.end(1)
    assert backup(filer).exit_status == ExitStatus.OK
    assert filer.log.count("TAPE_OPEN") == 2


def test_the_mover_is_cleaned_up_even_when_the_data_connection_is_gone() -> None:
    filer, stop = Filer(), Stop()
    with FakeServer(filer) as server:
        filer.hooks[Code.DATA_GET_STATE] = lambda it: server.cut("data")
        with pytest.raises(Unreachable), Servers(server.login(), server.login(), stop) as servers:
            run_backup(servers, TWO_DRIVES, ORDER, stop=stop, observer=Observer())
    assert filer.mover.state == 0
    assert filer.requests()[-4:] == ["MOVER_STOP", "TAPE_MTIO", "TAPE_CLOSE", "CONNECT_CLOSE"]
