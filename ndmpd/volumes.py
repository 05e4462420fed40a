"""The exported volumes, made from the settings. Nothing outside them has a name here.

A path that a DMA writes is resolved by its text only: the export with the longest matching name holds it,
component by component, so ``/vol/disk10`` is not inside ``/vol/disk1``. A ``..`` is refused rather than
resolved. What lies below an export's folder is opened relative to ``open_root`` by its user, which must not
follow links out of it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from ndmpd.config import Filesystem, Settings
from ndmpd.errors import JobRefused
from ndmpd.pieces import OpenFile
from ndmpd.ports import Volume


@dataclass(frozen=True, slots=True)
class Export:
    """One export: a folder, a disk (its name in the settings), or both."""

    name: str
    path: str | None
    disk: str | None

    def open_root(self) -> OpenFile:
        """The exported folder, open as a directory. Raises JobRefused where that fails."""
        if self.path is None:
            raise JobRefused(f"{self.name} is exported as a disk only; use the image butype, or give the "
                             f"export a path in the configuration")
        try:
            return OpenFile(os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), self.name)
        except OSError as error:
            raise JobRefused(f"{self.name}: its folder {self.path} cannot be opened ({error.strerror}); "
                             "mount it, or correct the configuration") from None


class ConfiguredVolumes:
    """``ports.Volumes`` over ``[filesystem."/name"]`` of the settings."""

    def __init__(self, settings: Settings) -> None:
        self._exports = _exports(settings.filesystem)

    def names(self) -> list[str]:
        return sorted(self._exports)

    def locate(self, path: str) -> tuple[Volume, str]:
        """The export that holds ``path``, and the path inside it ("" for its root)."""
        if not path.startswith("/"):
            raise JobRefused(f"{path!r} is not an absolute path; write it as one that begins with an export: "
                             f"{self._listing()}")
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts or "\0" in path:
            raise JobRefused(f"{path!r} holds '..' or a NUL character; write the path without it")
        for count in range(len(parts), -1, -1):
            export = self._exports.get("/" + "/".join(parts[:count]))
            if export is not None:
                return export, "/".join(parts[count:])
        raise JobRefused(f"{path!r} is in no export; write one of: {self._listing()}")

    def _listing(self) -> str:
        names = self.names()
        more = ", ..." if len(names) > 8 else ""
        return ", ".join(names[:8]) + more if names else "(nothing is exported)"


def _exports(filesystems: Mapping[str, Filesystem]) -> dict[str, Export]:
    return {name: Export(name, None if entry.path is None else str(entry.path), entry.disk)
            for name, entry in filesystems.items()}
