"""Runs ndmjob as the DMA: its command line, its verdict, its test suites' counts.

ndmjob's exit status says nothing (0 also for jobs that failed), so the verdict is read from its log, which
``-v`` sends to standard output as lines of ``TAG "text"``. Every run is bounded in time. ``-L`` does
nothing in Debian's build. What belongs in here: facts about ndmjob. What a server must do belongs in the
tests.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SHIM_SOURCE = Path(__file__).with_name("ndmjob_shim.c")
RECORD_BLOCKS = 200  # -b counts 512-byte blocks and goes no further than 200: records of 102,400 bytes


def find_program() -> Path | None:
    """The ndmjob of Debian's amanda-common, or None. It is in no PATH; dpkg knows where it lies."""
    usual = Path("/usr/lib/amanda/ndmjob")
    if usual.exists():
        return usual
    if shutil.which("dpkg"):
        listing = subprocess.run(
            ["dpkg", "-L", "amanda-common"], capture_output=True, text=True, timeout=30, check=False
        )
        for line in listing.stdout.splitlines():
            if line.endswith("/ndmjob"):
                return Path(line)
    return None


def build_shim(folder: Path) -> Path:
    """Compile the corrections to the client; see the head of ``ndmjob_shim.c`` for what they are."""
    library = folder / "ndmjob_shim.so"
    subprocess.run(
        ["gcc", "-O2", "-Wall", "-shared", "-fPIC", "-o", str(library), str(SHIM_SOURCE), "-ldl"],
        check=True, timeout=60,
    )  # fmt: skip
    return library


@dataclass(frozen=True, slots=True)
class Agent:
    """Where an NDMP server is, and how ndmjob is to speak to it (``version`` 2, 3 or 4)."""

    port: int
    version: int = 4
    user: str = "ndmp"
    password: str = "ndmp"
    host: str = "127.0.0.1"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}/{self.version}m,{self.user},{self.password}"


@dataclass(frozen=True, slots=True)
class Phase:
    """The counts that ndmjob prints at the end of a test phase (or, as ``FINAL``, of the whole suite)."""

    name: str
    verdict: str
    passed: int
    warned: int
    failed: int
    total: int


_PHASE = re.compile(
    r'^TEST "(?:Test|(FINAL)) (\S+) (\w+) -- pass=(\d+) warn=(\d+) fail=(\d+) \(total (\d+)\)"$', re.M
)
_ERROR = re.compile(r'^#\S+ "err ', re.M)
_LINE = re.compile(r'^(\S.*?) "(.*)"$')


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. ``status`` is None where it had to be killed for taking too long."""

    command: tuple[str, ...]
    status: int | None
    log: str

    @property
    def phases(self) -> dict[str, Phase]:
        """Counts by phase name (``T-OC``, ``M-IDLE`` ...); the suite's own are under ``FINAL``.

        A phase that is run several times (a listen test per address type, say) is added up.
        """
        found: dict[str, Phase] = {}
        for final, name, verdict, *counts in _PHASE.findall(self.log):
            key = final or name
            passed, warned, failed, total = (int(count) for count in counts)
            if key in found:
                before = found[key]
                verdict = verdict if before.verdict == "Passed" else before.verdict
                passed, warned = passed + before.passed, warned + before.warned
                failed, total = failed + before.failed, total + before.total
            found[key] = Phase(name, verdict, passed, warned, failed, total)
        return found

    @property
    def final(self) -> Phase | None:
        return self.phases.get("FINAL")

    @property
    def succeeded(self) -> bool:
        """Whether a backup or recover job did what it was told, by ndmjob's own judgement."""
        return "Operation ended OKAY" in self.log and self.completed

    @property
    def completed(self) -> bool:
        """Whether any other operation (a query, a robot command) ended without complaint.

        ndmjob says "Operation complete" even where it could not connect: that is an ``err`` line then.
        """
        return (
            self.status == 0
            and 'Operation complete"' in self.log
            and "had problems" not in self.log
            and "FATAL" not in self.log
            and _ERROR.search(self.log) is None
        )

    def lines(self, tag: str) -> list[str]:
        """The texts that ndmjob logged under ``tag``, such as ``QR`` for a query's report."""
        matches = (_LINE.match(line) for line in self.log.splitlines())
        return [match[2] for match in matches if match and match[1] == tag]

    @property
    def pauses(self) -> list[str]:
        """Why the mover paused, in order: ``EOM``, ``EOW``, ``EOF``, ``SEEK``. Needs a verbosity of 3."""
        return [line.rpartition("_")[2] for line in self.lines("SESS") if line.startswith("Mover paused, ")]

    def explain(self, tail: int = 60) -> str:
        """What a person needs when this is not what was expected."""
        how = "killed, it took too long" if self.status is None else f"status {self.status}"
        ending = "\n".join(self.log.splitlines()[-tail:])
        return f"{how}: {' '.join(self.command)}\n{ending}"


@dataclass(slots=True)
class Ndmjob:
    """ndmjob with a folder for its index files. ``shim``: preload the corrections that ``-o test-tape``
    needs.
    """

    program: Path
    folder: Path
    shim: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    verbosity: int = 2
    _runs: int = 0

    def run(self, *arguments: str | os.PathLike[str], timeout: float = 300) -> Outcome:
        """Run with ``arguments``; the log is also kept in the folder, numbered in order of running."""
        command = (str(self.program), "-" + "v" * self.verbosity, *(os.fspath(a) for a in arguments))
        environment = {**os.environ, "NDMJOB_CONF": os.devnull, **self.environment}
        if self.shim is not None:
            environment["LD_PRELOAD"] = str(self.shim)
        self._runs += 1
        log_file = self.folder / f"ndmjob-{self._runs:03}.log"
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment
            )
            try:
                status: int | None = process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                status = None
        return Outcome(command, status, log_file.read_text(errors="surrogateescape"))

    def suite(self, name: str, agent: Agent, device: str | None = None, timeout: float = 120) -> Outcome:
        """One of ndmjob's own conformance suites: ``test-tape``, ``test-mover``, ``test-data``."""
        if name == "test-data":
            return self.run("-o", name, "-D", str(agent), timeout=timeout)
        return self.run("-o", name, "-T", str(agent), "-f", device or "", timeout=timeout)

    def backup(
        self,
        job: Job,
        filesystem: str,
        index: Path | None = None,
        variables: Mapping[str, str] | None = None,
        extra: Sequence[str] = (),
    ) -> Outcome:
        """Back up ``filesystem``. With ``index``, file history is asked for and lands there."""
        history = ("-I", str(index)) if index else ()
        return self.run(
            "-c", *job.arguments(), "-C", filesystem, *history, *_settings(variables), *extra,
            timeout=job.timeout
        )  # fmt: skip

    def restore(
        self,
        job: Job,
        destination: str,
        names: Sequence[str] = ("/",),
        index: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Outcome:
        """Restore ``names`` below ``destination``.

        A name is ``/path`` as in the index, or ``/new=/old`` to restore it under a new name; ``/`` is
        everything. ``index`` is what the backup wrote: it supplies fh_info and the environment that the
        server returned.
        """
        history = ("-J", str(index)) if index else ()
        return self.run(
            "-x", *job.arguments(), "-C", destination, *history, *_settings(variables), *names,
            timeout=job.timeout
        )  # fmt: skip

    def contents(self, job: Job, index: Path) -> Outcome:
        """Read file history back from the tape (RECOVER_FILEHIST) into ``index``."""
        return self.run("-t", *job.arguments(), "-I", str(index), timeout=job.timeout)

    def robot(self, agent: Agent, changer: str, operation: str, *more: str) -> Outcome:
        """A robot command: ``move``, ``load=E``, ``unload``, ``import=E``, ``export=E`` ... or ``-Z``."""
        words = ("-Z",) if operation == "-Z" else ("-o", operation)
        options = [part for each in more for part in ("-o", each)]
        return self.run(*words, *options, "-D", str(agent), "-R", str(agent), "-r", changer, timeout=60)

    def query(self, *, data: Agent, tape: Agent, robot: Agent) -> Outcome:
        """What the three agents say of themselves; see ``Outcome.lines("QR")``."""
        return self.run("-q", "-D", str(data), "-T", str(tape), "-R", str(robot), timeout=60)


@dataclass(frozen=True, slots=True)
class Job:
    """What a backup and its restores share. With ``tape``, DATA and MOVER are two control connections,
    joined by TCP; without it they are one, joined by NDMP's LOCAL. With ``changer``, the tape's server has a
    robot that brings ``media`` (``@ELEMENT`` each, or ``@ELEMENT/WINDOW``) to its first drive.
    """

    data: Agent
    device: str
    butype: str = "tar"
    tape: Agent | None = None
    record_blocks: int = RECORD_BLOCKS
    media: tuple[str, ...] = ()
    timeout: float = 300
    changer: str | None = None
    swapped: bool = False
    """DATA listens and MOVER connects."""

    def arguments(self) -> list[str]:
        arguments = ["-D", str(self.data)]
        if self.tape is not None:
            arguments += ["-T", str(self.tape)]
        arguments += ["-f", self.device, "-B", self.butype, "-b", str(self.record_blocks)]
        if self.changer is not None:
            arguments += ["-R", str(self.tape or self.data), "-r", self.changer]
        if self.swapped:
            arguments += ["-o", "swap-connect"]
        for medium in self.media:
            arguments += ["-m", medium]
        return arguments


def _settings(variables: Mapping[str, str] | None) -> list[str]:
    return [part for name, value in (variables or {}).items() for part in ("-E", f"{name}={value}")]
