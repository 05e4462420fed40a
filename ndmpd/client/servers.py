"""The control connections of one job: to the DATA server, to the server with the tape, and for the changer.

A connection holds one device at a time, so a changer has one of its own (draft 3.3.1).
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field

from ndmpd.client.auth import authenticate
from ndmpd.client.connection import Connection, Stop
from ndmpd.client.url import ServerUrl
from protocol.ndmp.codes import AuthType, Code, Version
from protocol.ndmp.config import ConfigGetTapeInfoReply, ConfigGetTapeInfoRequest


@dataclass(frozen=True, slots=True)
class Login:
    """A server and how to be let in. The password is kept out of what is printed of it."""

    url: ServerUrl
    password: str = field(repr=False)
    method: AuthType = AuthType.MD5
    version: Version | None = None

    def open(self, stop: Stop | None = None) -> Connection:
        """An authenticated connection."""
        connection = Connection.open(self.url, self.version, stop)
        try:
            authenticate(connection, self.url.user, self.password, self.method)
        except BaseException:
            connection.drop()
            raise
        return connection


class Servers:
    """Opens what a job needs and takes leave of all of it at the end.

    ``tape`` None: the tape is on the DATA connection, and the two meet by a LOCAL address.
    """

    def __init__(self, data: Login, tape: Login | None, stop: Stop) -> None:
        self._stack = ExitStack()
        self._stop = stop
        self._tape_login = tape or data
        self.data = self._open(data)
        try:
            self.tape = self.data if tape is None else self._open(tape)
        except BaseException:
            self.close()
            raise

    def _open(self, login: Login) -> Connection:
        connection = login.open(self._stop)
        self._stack.callback(connection.close)
        return connection

    def changer(self) -> Connection:
        """A further connection to the server with the tape."""
        return self._open(self._tape_login)

    def close(self) -> None:
        self._stop.heeded = False
        self._stack.close()

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def drive_names(connection: Connection) -> list[str]:
    """The tape drives of a server, in its own order."""
    reply = connection.call(Code.CONFIG_GET_TAPE_INFO, ConfigGetTapeInfoRequest(), ConfigGetTapeInfoReply)
    return [each.device for model in reply.tape_info for each in model.caplist]
