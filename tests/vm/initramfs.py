"""The first file system of the virtual machine: busybox, modules that reach the host's files, and /init."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

from tests.vm.kernel import Kernel, NoKernel

_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
_FOLDERS = ("bin", "dev", "m", "lower", "newroot", "proc", "rw", "sys")
_DIRECTORY, _FILE, _LINK = 0o040755, 0o100755, 0o120777
_INIT = """#!/bin/sh
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
$B mount -t devtmpfs dev /dev
while read m; do $B insmod /m/$m; done </m/order
$B mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=524288,cache=loose host /lower || $B poweroff -f
$B mount -t tmpfs -o size=1g rw /rw
$B mkdir /rw/upper /rw/work
$B mount -t overlay -o lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work overlay /newroot
for d in proc sys dev; do $B mount --move /$d /newroot/$d; done
$B mkdir -p /newroot/dev/pts /newroot/vmout
$B ln -s /proc/self/fd /newroot/dev/fd
$B mount -t devpts devpts /newroot/dev/pts
$B mount -t tmpfs run /newroot/run
$B mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288 out /newroot/vmout
$B mkdir -p /newroot/lib/modules
$B ln -s {tree}/lib/modules/{release} /newroot/lib/modules/{release}
for a in $($B cat /newroot/proc/cmdline); do case $a in script=*) S=${{a#script=}};; esac; done
. /newroot/vmout/environment
export PYTHON ROOT PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
$B chroot /newroot /bin/bash $S
echo $? >/newroot/vmout/rc
$B sync
$B poweroff -f
"""


def initramfs(kernel: Kernel) -> bytes:
    """A compressed cpio archive of form "newc". Raises NoKernel where busybox is missing."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise NoKernel("busybox is missing; install busybox-static")
    modules = kernel.files_of(_MODULES)
    archive = _Archive()
    for folder in _FOLDERS:
        archive.add(folder, _DIRECTORY)
    archive.add("bin/busybox", _FILE, Path(busybox).read_bytes())
    archive.add("bin/sh", _LINK, b"busybox")
    for module in modules:
        archive.add(f"m/{module.name}", _FILE, module.read_bytes())
    archive.add("m/order", _FILE, "".join(f"{module.name}\n" for module in modules).encode())
    archive.add("init", _FILE, _INIT.format(tree=kernel.tree, release=kernel.release).encode())
    return gzip.compress(archive.end(), 1)


class _Archive:
    """The kernel's Documentation/driver-api/early-userspace/buffer-format.rst."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._number = 0

    def add(self, name: str, mode: int, data: bytes = b"") -> None:
        self._number += 1
        encoded = name.encode() + b"\0"
        fields = (self._number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        self._parts.append(_whole(header + encoded) + _whole(data))

    def end(self) -> bytes:
        self.add("TRAILER!!!", 0)
        return b"".join(self._parts)


def _whole(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
