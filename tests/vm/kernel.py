"""Debian's kernel for the virtual machine: unpacked, not installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "vm"
"""Kernels are kept here, which git ignores: 400 MB each, unpacked in seconds."""
_META_PACKAGE = "linux-image-amd64"
_LIMIT = 300.0


class NoKernel(Exception):
    """There is no kernel, and none can be had: the text says why."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """``tree`` has ``boot`` and ``lib/modules`` of the package."""

    release: str
    tree: Path

    @property
    def image(self) -> Path:
        return self.tree / "boot" / f"vmlinuz-{self.release}"

    @property
    def modules(self) -> Path:
        return self.tree / "lib" / "modules" / self.release

    def files_of(self, names: tuple[str, ...]) -> list[Path]:
        """The modules' files and those of all that they need, in the order in which they are loaded."""
        found: dict[Path, None] = {}
        for name in names:
            told = _run(["modprobe", "-d", str(self.tree), "-S", self.release, "--show-depends", name])
            for line in told.splitlines():
                kind, _, path = line.strip().partition(" ")
                if kind == "insmod":
                    found[Path(path.split()[0])] = None
        return list(found)


def kernel() -> Kernel:
    """The newest kernel of this machine's distribution, fetched at the first call. Raises NoKernel."""
    for program in ("apt-cache", "dpkg", "depmod", "modprobe"):
        if _where(program) is None:
            raise NoKernel(f"{program} is missing; the virtual machine needs apt, dpkg and kmod")
    package = _package()
    made = Kernel(package.removeprefix("linux-image-"), FOLDER / package)
    if not made.modules.is_dir():
        _unpack(package, made)
    return made


def _package() -> str:
    """The package that the meta package depends on today."""
    told = _run(["apt-cache", "depends", _META_PACKAGE])
    names = re.findall(r"Depends: (linux-image-[0-9][^\s]*)", told)
    if not names:
        raise NoKernel(f"apt knows no package {_META_PACKAGE}; run apt-get update, on Debian for amd64")
    return str(names[-1])


def _unpack(package: str, made: Kernel) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
        _run(["apt-get", "-q", "download", package], scratch)
        archives = list(Path(scratch).glob("*.deb"))
        if len(archives) != 1:
            raise NoKernel(f"apt-get download {package} left {len(archives)} packages")
        tree = Path(scratch) / "tree"
        _run(["dpkg", "-x", str(archives[0]), str(tree)])
        _run(["depmod", "-b", str(tree), made.release])
        try:
            # Whoever was quicker has put the same there.
            tree.rename(made.tree)
        except OSError:
            if not made.modules.is_dir():
                raise


def _where(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _run(command: list[str], folder: str | None = None) -> str:
    path = _where(command[0])
    try:
        done = subprocess.run([path or command[0], *command[1:]], cwd=folder, capture_output=True, text=True,
                              timeout=_LIMIT, check=False)
    except (OSError, subprocess.TimeoutExpired) as failure:
        raise NoKernel(f"{' '.join(command)}: {failure}") from failure
    if done.returncode:
        raise NoKernel(f"{' '.join(command)}: {done.stderr.strip()[-400:]}")
    return done.stdout
