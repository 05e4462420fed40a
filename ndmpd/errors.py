"""The few error classes of the service. Each border translates them in one place."""

from __future__ import annotations


class NdmpdError(Exception):
    """Base of what the service raises on purpose; the text tells the user what to do next."""


class ConfigError(NdmpdError):
    """The configuration cannot be used; the text begins with the file and the key."""


class StreamError(NdmpdError):
    """The backup stream itself is unsound: damaged, cut short, or not of this butype."""


class SourceError(NdmpdError):
    """A source that must be read whole (an image block, a map) could not be read."""


class JobRefused(NdmpdError):
    """A backup or recover cannot start as asked: a variable, a name or the destination is wrong.

    ``start`` replies with the error code the job's maker chose (see ``ndmpd.services.outcome``).
    """


class Cancelled(NdmpdError):
    """The work was aborted by the DMA or by the end of the session."""
