"""Units of other targets that a copy manager reaches, found by what they say of themselves.

They are asked when a copy first wants one that the SAN itself has not: a target that is down, or slow, keeps
nobody from the others. Paths to them are kept for the next copy.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable

from ndmpd.errors import NdmpdError
from ndmpd.san.copymanager.contact import Contact, Foreign
from protocol.errors import WireError
from protocol.scsi.spc import Designator, DeviceType

_log = logging.getLogger(__name__)

_ASKING = 30.0
"""Seconds that a copy waits for units to say who they are."""
_AGAIN = 3.0
"""Seconds before a unit that did not answer is asked again."""
_AFRESH = 60.0
"""Seconds before one that did answer is, where a unit is looked for that none has said to be."""
_IDLE = 20.0
"""Seconds that a path is kept which no copy uses."""
FAILURES = (NdmpdError, OSError, WireError)
"""What may come of a path to another target."""


class Reach:
    """For all copies of one copy manager. Every method may be called by any thread."""

    def __init__(self, units: Iterable[Foreign] = ()) -> None:
        self._units = tuple(units)
        self._changed = threading.Condition()
        self._known: dict[Designator, Foreign] = {}
        self._asking: set[str] = set()
        self._due: dict[str, float] = {}
        """When a unit may be asked again."""
        self._idle: list[tuple[float, Contact]] = []
        self._drives: dict[tuple[str, str], Contact] = {}
        """By the nexus that copies and the drive's name."""
        self._timer: threading.Timer | None = None

    def find(self, designator: Designator) -> Foreign | None:
        """The unit that gives this designator of itself; None where none is known to, in bounded time."""
        with self._changed:
            if designator not in self._known:
                for unit in self._units:
                    if unit.name not in self._asking and self._due.get(unit.name, 0.0) <= time.monotonic():
                        threading.Thread(target=self._ask, args=(unit,), daemon=True, name="reach").start()
                        self._asking.add(unit.name)
                self._changed.wait_for(lambda: designator in self._known or not self._asking, _ASKING)
            return self._known.get(designator)

    def _ask(self, unit: Foreign) -> None:
        contact: Contact | None = None
        due = time.monotonic() + _AGAIN
        try:
            contact = Contact(unit)
            due = time.monotonic() + _AFRESH
            self.give(contact)
        except FAILURES as failure:
            _log.warning("%s cannot be reached for copies: %s", unit.name, failure)
        finally:
            with self._changed:
                self._asking.discard(unit.name)
                self._due[unit.name] = due
                if contact is not None:
                    others = {one: of for one, of in self._known.items() if of is not unit}
                    self._known = others | dict.fromkeys(contact.designators, unit)
                self._changed.notify_all()

    def take(self, unit: Foreign, designator: Designator, nexus: str) -> Contact:
        """A path to the unit for copies of ``nexus``; a drive knows each nexus by a path of its own.

        FAILURES where there is none, or where the unit is not any more what it said it was.
        """
        if unit.type is DeviceType.TAPE:
            return self._drive(unit, designator, nexus)
        with self._changed:
            # An old path may lead to what the unit was before.
            kept = next((one for one in self._idle
                         if one[1].unit is unit and designator in one[1].designators), None)
            if kept is not None:
                self._idle.remove(kept)
                return kept[1]
        return self._connect(unit, designator)

    def _drive(self, unit: Foreign, designator: Designator, nexus: str) -> Contact:
        with self._changed:
            kept = self._drives.get((nexus, unit.name))
            if kept is not None and not kept.broken and designator in kept.designators:
                return kept
            self._drives.pop((nexus, unit.name), None)
        if kept is not None:
            kept.close()
        contact = self._connect(unit, designator)
        with self._changed:
            # Of two copies of a nexus that begin at a time, one may have been quicker.
            used = self._drives.setdefault((nexus, unit.name), contact)
        if used is not contact:
            contact.close()
        return used

    def _connect(self, unit: Foreign, designator: Designator) -> Contact:
        try:
            contact = Contact(unit)
        except FAILURES:
            self._forget(unit)
            raise
        if designator not in contact.designators:
            contact.close()
            self._forget(unit)
            raise NdmpdError(f"{unit.name}: the unit there is another one now")
        return contact

    def _forget(self, unit: Foreign) -> None:
        """It is asked anew before it is used again."""
        with self._changed:
            self._known = {one: of for one, of in self._known.items() if of is not unit}
            self._due.pop(unit.name, None)

    def give(self, contact: Contact) -> None:
        """It is not used for now. Those of drives stay with their nexus, until ``lose``."""
        if contact.broken:
            with self._changed:
                self._drives = {key: one for key, one in self._drives.items() if one is not contact}
            contact.close()
            self._forget(contact.unit)
            return
        with self._changed:
            if contact in self._drives.values():
                return
            if contact.unit.type is not DeviceType.TAPE:
                self._idle.append((time.monotonic() + _IDLE, contact))
                self._wait()
                return
        contact.close()

    def lose(self, nexus: str) -> None:
        """The nexus is gone, and its paths to drives with it."""
        with self._changed:
            lost = [key for key in self._drives if key[0] == nexus]
            contacts = [self._drives.pop(key) for key in lost]
        for contact in contacts:
            contact.close()

    def _wait(self) -> None:
        if self._timer is None and self._idle:
            self._timer = threading.Timer(max(0.1, self._idle[0][0] - time.monotonic()), self._expire)
            self._timer.daemon = True
            self._timer.start()

    def _expire(self) -> None:
        with self._changed:
            now = time.monotonic()
            old = [contact for due, contact in self._idle if due <= now]
            self._idle = [(due, contact) for due, contact in self._idle if due > now]
            self._timer = None
            self._wait()
        for contact in old:
            contact.close()

    def close(self) -> None:
        """Leave all units."""
        with self._changed:
            contacts = [contact for _, contact in self._idle] + list(self._drives.values())
            self._idle.clear()
            self._drives.clear()
            if self._timer is not None:
                self._timer.cancel()
        for contact in contacts:
            contact.close()
