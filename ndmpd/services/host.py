"""What the machine says of itself: a stable identifier, and which file system a folder lies in."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from ndmpd.formats.mounts import mounted

_MACHINE_ID = Path("/etc/machine-id")
_PROC = Path("/proc")
_NETWORK = re.compile(r"(nfs\d?|cifs|smb\d?|smbfs|9p|afs|ceph|lustre|glusterfs|ncpfs"
                      r"|fuse\.(sshfs|glusterfs|s3fs))")


def hostid(state_dir: Path, machine_id: Path = _MACHINE_ID) -> str:
    """Sixteen hexadecimal digits that stay the same for this machine.

    A digest of the machine id, which is not to leave the machine itself (machine-id(5)); where there is
    none, a number made up once and kept in ``state_dir``.
    """
    try:
        source = machine_id.read_text().strip()
    except OSError:
        source = ""
    if re.fullmatch(r"[0-9a-f]{32}", source) is None:
        source = _kept(state_dir / "hostid")
    return hashlib.sha256(b"ndmpd hostid " + source.encode()).hexdigest()[:16]


def _kept(path: Path) -> str:
    """The content of ``path``, made up if it is not there. Two that make it up at once keep the same one."""
    try:
        fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        if not path.exists():
            fresh.write_text(secrets.token_hex(16))
            try:
                os.link(fresh, path)
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
        return path.read_text()
    except OSError:
        return os.uname().nodename


@dataclass(frozen=True, slots=True)
class MountedOn:
    """The file system of a folder: its type, the device or server it is of, and whether it is on this
    machine.
    """

    type: str
    source: str
    local: bool


def mounted_on(path: str, proc: Path = _PROC) -> MountedOn:
    """By the longest mount point above ``path``; of several mounts on one point the last one counts."""
    real = os.path.realpath(path)
    best, found = -1, MountedOn("unknown", "unknown", True)
    try:
        mounts = list(mounted(proc))
    except OSError:
        mounts = []
    for mount in mounts:
        if os.path.commonpath([mount.point, real]) == mount.point and len(mount.point) >= best:
            best = len(mount.point)
            found = MountedOn(mount.type, mount.source, _NETWORK.fullmatch(mount.type) is None)
    return found
