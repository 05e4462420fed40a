"""Backups and recovers, and who else does the same work: the subjects of the rows that move bytes."""

from __future__ import annotations

import filecmp
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from protocol.ndmp.codes import DataOperation
from tests.bench import peers
from tests.bench.dma import Job, JobFailed, timed, timed_by_tcp
from tests.bench.place import Place
from tests.bench.rows import Subject, nothing
from tests.peers.ndmjob import Agent
from tests.trees.real import RealTree

TAPE = "tape0"


def image(place: Place) -> list[Subject]:
    disk, size = place.disk("disk0"), place.scale.size
    return [
        by_dd(place, disk),
        by_us(place, Job("image", "/vol/disk0", TAPE, at_least=size), size),
        *by_ndmjob(place, "image", disk, size),
    ]


def image_by_tcp(place: Place) -> list[Subject]:
    disk, size = place.disk("disk0"), place.scale.size
    return [by_loop(place, disk), by_us_by_tcp(place, Job("image", "/vol/disk0", TAPE, at_least=size), size)]


def large_file(place: Place) -> list[Subject]:
    file, size = place.large, place.scale.size
    return [
        by_dd(place, file),
        by_us(place, Job("tar", str(file.parent), TAPE, at_least=size), size),
        *by_ndmjob(place, "tar", file.parent, size),
    ]


def large_file_by_tcp(place: Place) -> list[Subject]:
    file, size = place.large, place.scale.size
    job = Job("tar", str(file.parent), TAPE, at_least=size)
    return [by_loop(place, file), by_us_by_tcp(place, job, size)]


def small_files(place: Place) -> list[Subject]:
    return tree(place, place.small)


def real_tree(place: Place) -> list[Subject]:
    """No subjects where this machine has no such tree."""
    return tree(place, place.real) if place.real is not None else []


def tree(place: Place, source: RealTree) -> list[Subject]:
    """With file history, which GNU tar makes none of, and ndmjob's server one entry."""
    archive = place.written("archive.tar", source.size + 2048 * source.files)
    job = Job("tar", str(source.path), TAPE, history="y", at_least=source.size, entries=source.files)
    return [
        Subject("GNU tar", peers.tar_create(source.path, archive), source.files),
        by_us(place, job, source.files),
        *by_ndmjob(place, "tar", source.path, source.files, history="y"),
    ]


def restored_image(place: Place) -> list[Subject]:
    """Onto the other disk, which is made to differ first."""
    source, target, size = place.disk("disk0"), place.disk("disk1"), place.scale.size
    timed(place.ours.agent, Job("image", "/vol/disk0", TAPE, at_least=size))
    job = Job("image", "/vol/disk1", TAPE, DataOperation.RECOVER, at_least=size)
    with target.open("r+b") as file:
        file.write(bytes(64 << 10))
    return [
        by_dd(place, source, "fdatasync"),
        by_us(place, job, size, lambda: same_content(source, target)),
    ]


def restored_large_file(place: Place) -> list[Subject]:
    source = RealTree(place.large.parent, 1, place.scale.size)
    return restored_tree(place, source, source.size, place.exports)


def restored_small_files(place: Place) -> list[Subject]:
    return restored_tree(place, place.small, place.small.files, place.memory)


def restored_tree(place: Place, source: RealTree, amount: int, below: Path) -> list[Subject]:
    """Into a new folder each time; what the last run restored is deleted before, untimed."""
    archive = place.folder / "restore.tar"
    archive.touch()
    peers.tar_create(source.path, archive)()
    timed(place.ours.agent, Job("tar", str(source.path), TAPE, at_least=source.size))

    def by_server(folder: Path) -> float:
        job = Job("tar", str(folder), TAPE, DataOperation.RECOVER, at_least=source.size)
        return timed(place.ours.agent, job).seconds

    def subject(name: str, restore: Callable[[Path], float]) -> Subject:
        folders: list[Path] = []

        def before() -> None:
            while folders:
                shutil.rmtree(folders.pop())
            folders.append(Path(tempfile.mkdtemp(dir=below)))

        return Subject(name, lambda: restore(folders[-1]), amount, before,
                       lambda: same_tree(source, folders[-1]))

    return [
        subject("GNU tar", lambda folder: peers.tar_extract(archive, folder)()),
        subject("ndmpd", by_server),
    ]


def by_us(place: Place, job: Job, amount: float, check: Callable[[], None] = nothing) -> Subject:
    agent = place.ours.agent
    return Subject("ndmpd", lambda: timed(agent, job).seconds, amount, check=check)


def by_us_by_tcp(place: Place, job: Job, amount: float) -> Subject:
    data, mover = place.ours.agent, place.tapes.agent
    return Subject("ndmpd", lambda: timed_by_tcp(data, mover, job).seconds, amount)


def by_dd(place: Place, source: Path, *conversions: str) -> Subject:
    size = place.scale.size
    return Subject("dd", peers.dd(source, place.written("copy", size), *conversions), size)


def by_loop(place: Place, source: Path) -> Subject:
    size = place.scale.size
    return Subject("loop", peers.socket_loop(source, place.written("copy", size)), size)


def by_ndmjob(place: Place, butype: str, source: Path, amount: float, history: str = "n") -> list[Subject]:
    reference = place.reference
    if reference is None:
        return []
    tape = place.folder / "ndmjob" / f"TAPE-{butype}"
    tape.touch()
    agent: Agent = reference.agent(4)
    job = Job(butype, str(source), str(tape), history=history)
    return [Subject("ndmjob", lambda: timed(agent, job).seconds, amount)]


def same_content(one: Path, other: Path) -> None:
    if not filecmp.cmp(one, other, shallow=False):
        raise JobFailed(f"{other} is not what {one} is")


def same_tree(source: RealTree, back: Path) -> None:
    """Every file of ``source`` is in ``back`` with its content, and no other."""
    names = [Path(folder, name).relative_to(source.path)
             for folder, _, files in os.walk(source.path) for name in files]
    for name in names:
        same_content(source.path / name, back / name)
    found = sum(len(files) for _, _, files in os.walk(back))
    if found != len(names):
        raise JobFailed(f"{back} has {found} files, and {source.path} {len(names)}")
