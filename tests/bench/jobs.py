"""The jobs that are timed, and the subjects that do each of them.

Source and destination of every job have been written before it is timed, so that nobody pays for the first
touch of a page or the allocation of a block; the page cache is warm; what is dirty is flushed between runs,
untimed.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.bench.dma import Backup, timed_backup
from tests.bench.series import Series
from tests.peers.ndmjob import find_program
from tests.peers.reference import ReferenceServer
from tests.peers.server import EmbeddedServer
from tests.trees.real import RealTree, find_real_tree

RECORD = 200 * 512  # what ndmjob writes at most; its server hangs with larger records and LOCAL
MIB = 1 << 20
SMALL_FILES = 100_000
SMALL = 2048  # bytes of each
PER_FOLDER = 1000

Subject = Callable[[], float]  # does the job once, returns seconds


@dataclass(frozen=True, slots=True)
class JobToTime:
    name: str
    size: int
    subjects: dict[str, Subject]
    files: int = 0


class Bench:
    """The servers and files of one run, in ``folder``; all is stopped on leaving the ``with`` block."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.size = size
        self._stack = ExitStack()
        self.ours: EmbeddedServer
        self.reference: ReferenceServer | None = None
        self.real: RealTree | None = find_real_tree()

    def __enter__(self) -> Bench:
        big = self.folder / "big"
        big.mkdir()
        fill(big / "file", self.size)
        small = self.folder / "small"
        make_small_files(small)
        trees = [self.real.path] if self.real else []
        self.ours = EmbeddedServer(self.folder / "state", (big, small, *trees)).start()
        self._stack.callback(self.ours.stop)
        disk = self.ours.disk("disk0")
        fill(disk, disk.stat().st_size)
        program = find_program()
        if program is not None:
            place = self.folder / "ndmjob"
            place.mkdir()
            self.reference = ReferenceServer(program, place, lifetime=3600).start()
            self._stack.callback(self.reference.stop)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def jobs(self) -> Iterator[JobToTime]:
        disk = self.ours.disk("disk0")
        yield JobToTime(
            "image",
            disk.stat().st_size,
            {
                "dd": self.dd(disk),
                "ndmpd": self.by_us("image", "/vol/disk0", disk.stat().st_size),
                **self.by_ndmjob("image", disk, disk.stat().st_size),
            },
        )
        file = self.folder / "big" / "file"
        yield JobToTime(
            "tar, one file",
            self.size,
            {
                "dd": self.dd(file),
                "ndmpd": self.by_us("tar", str(file.parent), self.size),
                **self.by_ndmjob("tar", file.parent, self.size),
            },
        )
        if self.real is not None:
            yield self.tree(self.real)
        yield self.tree(RealTree(self.folder / "small", SMALL_FILES, SMALL_FILES * SMALL), "small files")

    def tree(self, tree: RealTree, name: str = "") -> JobToTime:
        """A backup with file history, which GNU tar has none of, and ndmjob's server one entry."""
        subjects = {
            "GNU tar": self.gnu_tar(tree.path),
            "ndmpd": self.by_us("tar", str(tree.path), tree.size, history="y"),
            **self.by_ndmjob("tar", tree.path, tree.size, history="y"),
        }
        return JobToTime(f"tar, {name or tree.path}", tree.size, subjects, tree.files)

    def dd(self, source: Path) -> Subject:
        target = self.folder / "dd"
        return timed_command("dd", f"if={source}", f"of={target}", "bs=1M", "conv=notrunc", "status=none")

    def gnu_tar(self, tree: Path) -> Subject:
        """Into a pipe and on to a file: GNU tar reads no file where it writes to /dev/null, and truncates
        one.
        """
        options = "--format=pax --xattrs --acls --numeric-owner"
        target = self.folder / "tar"
        return timed_command(
            "sh", "-c",
            f"tar -c {options} -C {tree} . | dd of={target} bs=1M iflag=fullblock conv=notrunc status=none",
        )  # fmt: skip

    def by_us(self, butype: str, filesystem: str, size: int, history: str = "n") -> Subject:
        backup = Backup(butype, filesystem, "tape0", RECORD, history, size)
        return lambda: timed_backup(self.ours.agent(4), backup).seconds

    def by_ndmjob(self, butype: str, filesystem: Path, size: int, history: str = "n") -> dict[str, Subject]:
        reference = self.reference
        if reference is None:
            return {}
        tape = self.folder / "ndmjob" / f"TAPE-{butype}"
        tape.touch()
        backup = Backup(butype, str(filesystem), str(tape), RECORD, history, size)
        return {"ndmjob": lambda: timed_backup(reference.agent(4), backup).seconds}


def time_job(job: JobToTime, rounds: int) -> list[Series]:
    """A round unmeasured, then ``rounds`` of all subjects in turn."""
    series = {name: Series(job.name, name, job.size, job.files) for name in job.subjects}
    for number in range(rounds + 1):
        for name, subject in job.subjects.items():
            os.sync()
            seconds = subject()
            if number > 0:
                series[name].seconds.append(seconds)
    return list(series.values())


def timed_command(*command: str) -> Subject:
    def run() -> float:
        started = time.perf_counter()
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        return time.perf_counter() - started

    return run


def fill(path: Path, size: int) -> None:
    """Write ``size`` bytes that do not repeat within a few MiB, and none of which is a hole."""
    block = random.Random(1).randbytes(4 * MIB)
    with path.open("r+b" if path.exists() else "wb") as file:
        for number in range(0, size, len(block)):
            turn = number // len(block) % len(block)
            file.write((block[turn:] + block[:turn])[: size - number])


def make_small_files(folder: Path) -> None:
    content = random.Random(2).randbytes(SMALL)
    for number in range(SMALL_FILES):
        if number % PER_FOLDER == 0:
            (place := folder / f"{number // PER_FOLDER:03}").mkdir(parents=True)
        (place / f"file{number:06}").write_bytes(content)


def blocks_can_be_shared(folder: Path) -> bool:
    """Whether the file system can copy by reference (FICLONE): then a copy in it says nothing about moving
    bytes.
    """
    import fcntl

    ficlone = 0x40049409
    source, target = folder / "source", folder / "target"
    try:
        source.write_bytes(bytes(64 << 10))
        with source.open("rb") as one, target.open("wb") as other:
            fcntl.ioctl(other, ficlone, one.fileno())
    except OSError:
        return False
    finally:
        source.unlink(missing_ok=True)
        target.unlink(missing_ok=True)
    return True
