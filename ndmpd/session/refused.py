"""A legal refusal: the request gets an error in its reply, and nothing else changes."""

from __future__ import annotations

from ndmpd.errors import NdmpdError
from protocol.ndmp.codes import Error


class Refused(NdmpdError):
    """``text`` goes to the DMA as a LOG_MESSAGE associated with the reply (2.8.1), if it is not empty.

    What is refused before authentication has none.
    """

    def __init__(self, error: Error, text: str = "") -> None:
        super().__init__(text or error.name)
        self.error = error
        self.text = text
