"""What a person sees: a progress bar while a job runs, and its outcome in a few lines. All of it on standard
error.

``--json`` leaves standard output to one document.
"""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from ndmpd.client.copies import CopyReport
from ndmpd.client.disk_copy import BELIEVABLE
from ndmpd.client.errors import ExitStatus
from ndmpd.client.jobs import Report
from ndmpd.client.observer import Observer
from protocol.ndmp.codes import DataUnsupported, LogType, MoverState
from protocol.ndmp.data import DataGetStateReply
from protocol.ndmp.mover import MoverGetStateReply

WINDOW = 5.0
"""Seconds over which the rate shown is measured."""
STYLES: dict[int, str] = {LogType.ERROR: "bold red", LogType.WARNING: "yellow", LogType.DEBUG: "dim"}


class Bar(Observer):
    """A progress bar: bytes, rate, files and the cartridge in use. Quiet where there is no terminal.

    ``total``: bytes expected, 0 if only the server can say. ``verbose``: show what the server logs as normal
    too.
    """

    def __init__(self, console: Console, title: str, total: int = 0, verbose: bool = False) -> None:
        self._console = console
        self._total = total
        self._verbose = verbose
        self._entries = 0
        self._place = ""
        self._samples: deque[tuple[float, int]] = deque()
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"), TextColumn("[bold]{task.description}[/]"),
            BarColumn(bar_width=28), TextColumn("{task.fields[percent]}", style="cyan", justify="right"),
            TextColumn("{task.fields[moved]}", style="green"), TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[files]}", style="magenta"),
            TextColumn("{task.fields[where]}", style="dim"), TimeElapsedColumn(), console=console,
            disable=not console.is_terminal)
        self._task: TaskID = self._progress.add_task(
            title, total=None, percent="", moved="", rate="", files="", where="")

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if kind is None:
            task = self._progress.tasks[0]
            done = max(int(task.completed), 1)
            rate = f"{decimal(int(done / task.elapsed))}/s" if task.elapsed else ""
            self._progress.update(self._task, total=done, completed=done, percent="100%", rate=rate,
                                  where=self._place)
        self._progress.stop()

    def states(self, data: DataGetStateReply, mover: MoverGetStateReply) -> None:
        total = 0
        if not data.unsupported & DataUnsupported.EST_BYTES_REMAIN and data.est_bytes_remain < BELIEVABLE:
            total = data.bytes_processed + data.est_bytes_remain
        self.amount(max(data.bytes_processed, mover.bytes_moved), total, mover.state == MoverState.PAUSED)

    def amount(self, moved: int, total: int, paused: bool = False) -> None:
        total = self._total or total
        known = total > moved > 0
        self._progress.update(self._task, completed=moved, total=total if known else None)
        files = f"{self._entries:,} files" if self._entries else ""
        self._progress.update(
            self._task, moved=decimal(moved), files=files, where="paused" if paused else self._place,
            percent=f"{100 * moved // total}%" if known else "",
            rate=self._rate(moved))

    def _rate(self, moved: int) -> str:
        """Bytes a second over the last ``WINDOW`` seconds."""
        now = time.monotonic()
        self._samples.append((now, moved))
        while now - self._samples[0][0] > WINDOW:
            self._samples.popleft()
        since, before = self._samples[0]
        return f"{decimal(int((moved - before) / (now - since)))}/s" if now > since else ""

    def cartridge(self, name: str, drive: str) -> None:
        self._place = f"{name} in {drive}" if name else drive
        self._progress.update(self._task, where=self._place)

    def doing(self, text: str) -> None:
        self._progress.update(self._task, where=text)

    def message(self, kind: int, text: str) -> None:
        if self._verbose or kind in (LogType.ERROR, LogType.WARNING):
            style = STYLES.get(kind, "")
            self._progress.console.print(f"  {text}", style=style, markup=False, highlight=False)

    def history(self, entries: int) -> None:
        self._entries = entries


def show_report(console: Console, report: Report) -> None:
    """The outcome: one line that says it all, then what is wrong."""
    status = report.exit_status
    mark, word = _verdict(status)
    parts = [f"{decimal(report.size)} in {report.seconds:.1f} s", f"{decimal(int(report.rate))}/s"]
    if report.entries:
        parts.append(f"{report.entries:,} entries of file history")
    if report.reported:
        parts.append(f"{report.recovered:,} of {report.wanted:,} names recovered")
    console.print(f"{mark} {report.operation} {word}: {', '.join(parts)}", highlight=False)
    if status == ExitStatus.FAILED:
        console.print(f"  DATA halted {report.data_halt}, MOVER halted {report.mover_halt}", style="red")
    if report.lost:
        console.print(f"  {report.lost:,} file(s) lost, named in the messages", style="yellow")
    for name, outcome in report.failed[:20]:
        console.print(f"  not recovered: {escape(name or '(everything)')} ({outcome})", style="yellow")
    for remark in report.remarks:
        console.print(f"  {escape(remark)}", style="dim")
    if report.operation == "backup" and report.media:
        table = Table("cartridge", "drive", "tape file", "from byte", "bytes", box=None, pad_edge=False,
                      header_style="dim")
        for each in report.media:
            table.add_row(each.cartridge or "-", each.drive, str(each.file_number), f"{each.window_offset:,}",
                          f"{each.window_length:,}")
        console.print(table)


def show_copy(console: Console, report: CopyReport) -> None:
    """The outcome of a copy."""
    mark, word = _verdict(report.exit_status)
    parts = [f"{decimal(report.size)} in {report.seconds:.1f} s", f"{decimal(int(report.rate))}/s"]
    if report.kind == "tape":
        parts.append(f"{report.files:,} tape file{'' if report.files == 1 else 's'}")
    console.print(f"{mark} copy {word}: {', '.join(parts)}", highlight=False)
    if not report.whole:
        console.print(f"  the source halted {report.source_halt}, the destination {report.destination_halt}",
                      style="red")
    if report.lost:
        console.print(f"  {report.lost:,} file(s) lost, named in the messages", style="yellow")
    for name, outcome in report.failed[:20]:
        console.print(f"  not copied: {escape(name or '(everything)')} ({outcome})", style="yellow")
    for remark in report.remarks:
        console.print(f"  {escape(remark)}", style="dim")


def _verdict(status: ExitStatus) -> tuple[str, str]:
    return {
        ExitStatus.OK: ("[bold green]✓[/]", "complete"),
        ExitStatus.PARTIAL: ("[bold yellow]![/]", "incomplete"),
    }.get(status, ("[bold red]✗[/]", "failed"))
