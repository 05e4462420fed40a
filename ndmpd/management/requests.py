"""The listener's answers to whoever runs the server: status, sessions, the end of one.

Answers are documents of JSON. One with ``error`` in it says why there is nothing else.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed

from ndmpd.config import Settings
from ndmpd.management.poll import Account, Accounts, SessionPoll
from ndmpd.management.sessions import SessionTable
from ndmpd.services.tally import HEAD, Operation, Outcome

Document = dict[str, Any]

LONGEST_GRACE = 600
"""Seconds that a session may be given to end."""
REAPED = 10.0
"""Seconds for SIGKILL to take effect: longer only where the kernel waits for a device."""
_CLEAN = (0, -15)
"""Statuses of a session that ended as it should; by SIGTERM only before it had begun."""
_KILLED = -9


class Requests:
    """Answers them. ``kill`` ends the session of a number, by SIGKILL where that takes longer than so many
    seconds; it may raise OSError.
    """

    def __init__(self, reactor: Any, settings: Settings, listening: str, table: SessionTable,
                 poll: SessionPoll, kill: Callable[[int, int], None]) -> None:
        self._reactor = reactor
        self._settings = settings
        self._listening = listening
        self._table = table
        self._poll = poll
        self._kill = kill
        self._ending: dict[int, list[Callable[[int | None], None]]] = {}

    def answer(self, request: Document) -> Deferred[Document]:
        """Never fails for what is asked."""
        match request:
            case {"ask": "status"}:
                return self._poll.ask(self._table.sessions).addCallback(self._status)
            case {"ask": "sessions"}:
                return self._poll.ask(self._table.sessions).addCallback(self._sessions)
            case {"ask": "session", "id": int(number)}:
                if number not in self._table.sessions:
                    return succeed(_unknown(number))
                return self._poll.ask([number]).addCallback(self._sessions)
            case {"ask": "kill", "id": int(number), "within": int(within)}:
                return self._end(number, min(max(within, 1), LONGEST_GRACE))
        return succeed({"error": "this server does not know what that asks for"})

    def ended(self, number: int, status: int) -> None:
        """A session's process is gone."""
        for tell in self._ending.pop(number, []):
            tell(status)

    # Status.

    def _status(self, accounts: Accounts) -> Document:
        table, server = self._table, self._settings.server
        totals = table.tallies.totals()
        return {
            "pid": os.getpid(),
            "since": table.since,
            "listening": self._listening,
            "metrics": table.metrics,
            "state_dir": str(server.state_dir),
            "sessions": {"now": len(table.sessions), "limit": table.limit, "most": table.most,
                         "accepted": table.accepted, "refused": table.refused,
                         "failed": table.failed, "failed_logins": totals.failed_logins},
            "jobs": {operation.name.lower(): {outcome.name.lower(): totals.jobs[operation, outcome]
                                              for outcome in Outcome} for operation in Operation},
            "datamovers": [
                {"name": mover.name, "type": "NAS" if mover.name == HEAD else "SCSI",
                 "online": mover.name == HEAD or self._settings.datamover[mover.name].online,
                 "backed_up": mover.backed_up, "recovered": mover.recovered, "jobs_done": mover.done,
                 "jobs_failed": mover.failed} for mover in totals.movers],
            "drives": self._drives(accounts),
            "copy_manager": table.copy_manager,
        }

    def _drives(self, accounts: Accounts) -> list[Document]:
        """``session``: whose it is. Where sessions do not answer, any drive may be theirs."""
        holders = {account["drive"]: number for number, account in accounts.items()
                   if account is not None and account.get("drive")}
        silent = any(account is None and number in self._table.sessions
                     for number, account in accounts.items())
        found = []
        for name, unit in self._settings.drive.items():
            holder = holders.get(name)
            state = ("offline" if not unit.online else "held" if holder is not None else
                     "unknown" if silent else "free")
            found.append({"name": name, "device": str(unit.device), "state": state, "session": holder})
        return found

    # Sessions.

    def _sessions(self, accounts: Accounts) -> Document:
        return {"sessions": [self._session(number, account) for number, account in sorted(accounts.items())
                             if number in self._table.sessions]}

    def _session(self, number: int, account: Account | None) -> Document:
        entry = self._table.sessions[number]
        return {"id": number, "peer": entry.peer, "since": entry.since, "answers": account is not None,
                **(account or {})}

    def _end(self, number: int, within: int) -> Deferred[Document]:
        """Have it say what it is about, then have it ended."""
        if number not in self._table.sessions:
            return succeed(_unknown(number))
        outcome: Deferred[Document] = Deferred()

        def end(accounts: Accounts) -> None:
            if number not in self._table.sessions:
                outcome.callback(_unknown(number))
                return
            session, began = self._session(number, accounts[number]), time.monotonic()

            def tell(status: int | None) -> None:
                if late.active():
                    late.cancel()
                if not outcome.called:
                    outcome.callback({"session": session, "how": _how(status), "status": status,
                                      "seconds": round(time.monotonic() - began, 3)})

            late = self._reactor.callLater(within + REAPED, tell, None)
            self._ending.setdefault(number, []).append(tell)
            try:
                self._kill(number, within)
            except OSError:
                tell(None)

        self._poll.ask([number]).addCallback(end).addErrback(outcome.errback)
        return outcome


def _how(status: int | None) -> str:
    if status is None:
        return "remains"
    return "ended" if status in _CLEAN else "killed" if status == _KILLED else "failed"


def _unknown(number: int) -> Document:
    return {"error": f"there is no session {number}; see `ndmpd sessions`", "unknown": True}
