"""The virtual machine: qemu without KVM, this machine's root file system over 9p beneath a memory overlay."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.vm.initramfs import initramfs
from tests.vm.kernel import ROOT, Kernel

QEMU = "qemu-system-x86_64"
MEMORY = 1536
"""MiB."""
_COMMAND_LINE = ("console=ttyS0 quiet panic=-1 loglevel=4 mitigations=off random.trust_cpu=on tsc=unstable "
                 "script={script}")
_CONSOLE = 20_000
"""Characters of the console's end that a failure shows."""


class MachineFailed(Exception):
    """The script did not end well, or did not end: the text has the console's last lines."""


@dataclass(frozen=True, slots=True)
class Ran:
    """``status``: the script's exit status; ``console``: all that was printed; ``out``: what it left behind.
    """

    status: int
    console: str
    out: Path
    seconds: float


class Machine:
    """Boots ``kernel`` once for each script. ``folder``: for the initial file system and scripts' results."""

    def __init__(self, kernel: Kernel, folder: Path) -> None:
        self._kernel = kernel
        self._folder = folder
        self._initramfs = folder / "initramfs.gz"
        self._initramfs.write_bytes(initramfs(kernel))

    def run(self, script: Path, limit: float) -> Ran:
        """Run ``script``, a path that this machine has too, with bash as root. Ends within ``limit`` seconds.

        In the guest ``PYTHON`` is this interpreter and ``ROOT`` the project's folder, ``/vmout`` what
        ``Ran.out`` shows; the root file system is writable, in memory. Raises MachineFailed where the script
        never ends.
        """
        out = self._folder / f"{script.stem}-out"
        if out.exists():
            shutil.rmtree(out)
        out.mkdir()
        (out / "environment").write_text(f"PYTHON='{sys.executable}'\nROOT='{ROOT}'\n")
        begun = time.monotonic()
        try:
            done = subprocess.run(self._command(script, out), stdin=subprocess.DEVNULL, timeout=limit,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        except subprocess.TimeoutExpired as failure:
            printed = (failure.output or b"").decode(errors="replace")[-_CONSOLE:]
            raise MachineFailed(f"{script.name} did not end in {limit:.0f} s:\n{printed}") from None
        console = done.stdout.decode(errors="replace")
        status = out / "rc"
        if not status.is_file():
            raise MachineFailed(f"{script.name} never ended:\n{console[-_CONSOLE:]}")
        return Ran(int(status.read_text()), console, out, time.monotonic() - begun)

    def must(self, script: Path, limit: float) -> Ran:
        """As ``run``. Raises MachineFailed where the script fails as well."""
        ran = self.run(script, limit)
        if ran.status:
            raise MachineFailed(f"{script.name} ended with status {ran.status}:\n{ran.console[-_CONSOLE:]}")
        return ran

    def _command(self, script: Path, out: Path) -> list[str]:
        return [
            QEMU, "-accel", "tcg,thread=multi", "-machine", "q35", "-cpu", "max", "-smp", "2",
            "-m", str(MEMORY), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-kernel", str(self._kernel.image), "-initrd", str(self._initramfs),
            "-append", _COMMAND_LINE.format(script=script),
            "-serial", "stdio", "-monitor", "none",
            "-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
            "-virtfs", f"local,path={out},mount_tag=out,security_model=none",
        ]
