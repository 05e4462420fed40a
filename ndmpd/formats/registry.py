"""The butypes of this server, by the names that DMAs use."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ndmpd.formats.image import Image
from ndmpd.formats.image_disk import OpenDisk
from ndmpd.formats.tar import Tar
from ndmpd.ports import Butype


def butypes(open_disk: OpenDisk) -> Mapping[str, Butype]:
    """Every butype, fresh: one serves one job at a time. ``open_disk``: the class
    ``ndmpd.devices.disk.Disk``.
    """
    return MappingProxyType({one.name: one for one in (Tar(), Image(open_disk))})
