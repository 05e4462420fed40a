"""Text requests: SendTargets, in as many PDUs as it takes. RFC 7143 11.10, appendix C."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ndmpd.san.target.login import PORTAL_GROUP
from protocol.errors import WireError
from protocol.iscsi.keys import NOT_UNDERSTOOD, REJECT
from protocol.iscsi.pdu import RESERVED_TAG
from protocol.iscsi.session import TextRequest
from protocol.iscsi.text import put_text, take_text

_MAX_TEXT = 16384
_SEND_TARGETS = "SendTargets"
_MORE = 1
"""The transfer tag with which the rest of an answer is asked for: one text negotiation goes on at a time."""


class Texts:
    """Of one session. ``targets``: names that its initiator may see. ``own``: the target of a normal session,
    which tells of itself alone. ``address``: where the initiator reached us, like "192.0.2.1:3260".
    """

    def __init__(self, targets: Callable[[], Sequence[str]], own: str, address: str) -> None:
        self._targets = targets
        self._own = own
        self._address = address
        self._asked = bytearray()
        self._rest = b""

    def answer(self, request: TextRequest, data: bytes, longest: int) -> tuple[bytes, int]:
        """The text of the response, and its target transfer tag. WireError for what is no request."""
        if request.transfer_tag != RESERVED_TAG and self._rest:
            return self._part(longest)
        self._rest = b""
        self._asked += data
        if len(self._asked) > _MAX_TEXT:
            self._asked.clear()
            raise WireError("a text request without end")
        if request.go_on:
            return b"", _MORE
        asked, self._asked = self._asked, bytearray()
        self._rest = put_text([pair for key, value in take_text(asked) for pair in self._one(key, value)])
        return self._part(longest)

    def _part(self, longest: int) -> tuple[bytes, int]:
        part, self._rest = self._rest[:longest], self._rest[longest:]
        return part, _MORE if self._rest else RESERVED_TAG

    def _one(self, key: str, value: str) -> list[tuple[str, str]]:
        if key != _SEND_TARGETS:
            return [(key, NOT_UNDERSTOOD)]
        if value == "All":
            if self._own:
                return [(key, REJECT)]
            names = self._targets()
        else:
            wanted = value or self._own
            names = [name for name in self._targets() if name == wanted]
            if self._own and wanted != self._own:
                names = []
        return [pair for name in names
                for pair in (("TargetName", name), ("TargetAddress", f"{self._address},{PORTAL_GROUP}"))]
