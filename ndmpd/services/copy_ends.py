"""The ends of a copy as a copy manager is told of them: units by designator."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence

from ndmpd.devices.disk import Disk
from ndmpd.errors import NdmpdError
from ndmpd.offload.ends import CannotCopy, DiskEnd
from ndmpd.ports import Transport
from protocol.scsi.cscd import MAX_DESIGNATOR
from protocol.scsi.spc import Designator, DesignatorType

log = logging.getLogger(__name__)


def best(designators: Sequence[Designator]) -> Designator:
    """The designator that names a unit most surely: NAA, then EUI-64, then T10. CannotCopy where none does.
    """
    for kind in (DesignatorType.NAA, DesignatorType.EUI_64, DesignatorType.T10):
        for one in designators:
            if one.type == kind and 0 < len(one.identifier) <= MAX_DESIGNATOR:
                return one
    raise CannotCopy("the unit has no designator that a copy manager could find it by")


class Disks(Mapping[str, DiskEnd]):
    """The disks of a run as a copy manager knows them: by designator. Each is asked once."""

    def __init__(self, open_disk: Callable[[str], Transport]) -> None:
        self._open_disk = open_disk
        self._known: dict[str, DiskEnd | None] = {}

    def __getitem__(self, name: str) -> DiskEnd:
        if name not in self._known:
            self._known[name] = self._ask(name)
        found = self._known[name]
        if found is None:
            raise KeyError(name)
        return found

    def _ask(self, name: str) -> DiskEnd | None:
        try:
            disk = Disk(self._open_disk(name), name)
        except NdmpdError as failure:
            log.warning("disk %s: %s", name, failure)
            return None
        try:
            disk.open()
            return DiskEnd(name, best(disk.designators()), disk.capacity.block_length, disk.capacity.blocks)
        except (NdmpdError, ValueError) as failure:
            log.warning("disk %s is not for a copy manager: %s", name, failure)
            return None
        finally:
            disk.close()

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)
