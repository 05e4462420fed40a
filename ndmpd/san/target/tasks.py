"""The SCSI commands of one session that have not ended: found by their tags, and taken out by aborts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from ndmpd.san.target.exchange import Exchange, Phase


class Tasks:
    """For the threads of the session, and those of others that reset the unit."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self._known: dict[int, Exchange] = {}

    def __len__(self) -> int:
        return len(self._known)

    def find(self, tag: int) -> Exchange | None:
        return self._known.get(tag)

    def oldest_collecting(self) -> Exchange | None:
        """The first command that still waits for data; only with the guard held."""
        return next((one for one in self._known.values() if one.phase is Phase.COLLECTING), None)

    def add(self, exchange: Exchange) -> bool:
        """Whether the tag was free."""
        with self.guard:
            return self._known.setdefault(exchange.tag, exchange) is exchange

    def begin(self, exchange: Exchange) -> bool:
        """Whether the command is to be carried out: it has not been aborted."""
        with self.guard:
            if exchange.aborted:
                return False
            exchange.phase = Phase.RUNNING
            return True

    def answer(self, exchange: Exchange) -> bool:
        """Whether its response is to be sent; from here on the command cannot be aborted any more."""
        with self.guard:
            if exchange.aborted:
                return False
            self._known.pop(exchange.tag, None)
            return True

    def end(self, exchange: Exchange) -> None:
        """It will do nothing more: those who wait for that are told."""
        with self.guard:
            exchange.phase = Phase.ENDED
            if self._known.get(exchange.tag) is exchange:
                del self._known[exchange.tag]
            watchers, exchange.watchers = exchange.watchers, []
        exchange.release()
        for watcher in watchers:
            watcher()

    def abort(self, exchanges: Iterable[Exchange] | None, watcher: Callable[[], None], *,
              tell: bool) -> list[Exchange]:
        """Take out these, or all. ``watcher`` will be called once for each one returned: those that are being
        carried out, or wait for it. The others end here; with ``tell``, when the data that they were asked
        for has come, since the initiator is then told of their end.
        """
        waiting: list[Exchange] = []
        ended: list[Exchange] = []
        with self.guard:
            for exchange in list(self._known.values() if exchanges is None else exchanges):
                if self._known.get(exchange.tag) is not exchange:
                    continue
                exchange.owed = tell and (exchange.owed or not exchange.aborted)
                exchange.aborted = True
                if exchange.phase is Phase.COLLECTING and tell:
                    continue
                if exchange.phase is Phase.COLLECTING:
                    ended.append(exchange)
                    del self._known[exchange.tag]
                    exchange.phase = Phase.ENDED
                else:
                    exchange.watchers.append(watcher)
                    waiting.append(exchange)
        for exchange in ended:
            exchange.release()
        return waiting
