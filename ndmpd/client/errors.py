"""What can go wrong on the DMA side, and the exit status that each kind gives ``ndmpc``."""

from __future__ import annotations

from enum import IntEnum

from ndmpd.errors import NdmpdError


class ExitStatus(IntEnum):
    """Exit statuses of ``ndmpc``; 0 is given only for work that is whole.

    2 is what a command line that cannot be understood gives (click's own).
    """

    OK = 0
    PARTIAL = 1
    USAGE = 2
    FAILED = 3
    REFUSED = 4
    UNREACHABLE = 5
    NOT_AUTHORIZED = 6
    MEDIA = 7
    CATALOGUE = 8
    INTERRUPTED = 130


class ClientError(NdmpdError):
    """Base of the DMA's errors; the text tells the user what to do next."""

    exit_status = ExitStatus.FAILED


class WrongUsage(ClientError):
    """What was asked for cannot be meant, or something is missing in it."""

    exit_status = ExitStatus.USAGE


class UrlError(WrongUsage):
    """A server's address cannot be understood."""


class Unreachable(ClientError):
    """The server cannot be reached, went away, fell silent or does not speak NDMP."""

    exit_status = ExitStatus.UNREACHABLE


class NotAuthorized(ClientError):
    """The server does not accept the user or the password, or no common way to prove it exists."""

    exit_status = ExitStatus.NOT_AUTHORIZED


class Refused(ClientError):
    """The server answered a request with an error.

    ``request`` is the message's name, ``error`` the code (``protocol.ndmp.codes.Error``, or a plain number).
    """

    exit_status = ExitStatus.REFUSED

    def __init__(self, request: str, error: int, hint: str = "") -> None:
        self.request = request
        self.error = error
        name = getattr(error, "name", f"error {int(error)}")
        super().__init__(f"the server refused {request}: {name}" + (f" ({hint})" if hint else ""))


class MediaError(ClientError):
    """No cartridge to go on with, the wrong one, or a changer that cannot bring it."""

    exit_status = ExitStatus.MEDIA


class JobFailed(ClientError):
    """A backup, restore or toc did not come to its end."""


class CatalogueError(ClientError):
    """The catalogue file cannot be used, or does not hold what was asked for."""

    exit_status = ExitStatus.CATALOGUE


class Interrupted(ClientError):
    """The user asked to stop; the job was aborted and the devices were released."""

    exit_status = ExitStatus.INTERRUPTED
