"""A legal refusal: the request gets an error in its reply, and nothing else changes."""

from __future__ import annotations

from ndmpd.errors import NdmpdError
from protocol.ndmp.codes import Error


class Refused(NdmpdError):
    """``text`` goes to an authorised DMA as a LOG_MESSAGE associated with the reply (2.8.1), if not empty."""

    def __init__(self, error: Error, text: str = "") -> None:
        super().__init__(text or error.name)
        self.error = error
        self.text = text
