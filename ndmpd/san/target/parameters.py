"""What a session has agreed on, and what this target offers. RFC 7143 clause 13."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protocol.errors import WireError
from protocol.iscsi.keys import (
    CRC32C,
    DISCOVERY_IRRELEVANT,
    IRRELEVANT,
    KEYS,
    NOT_UNDERSTOOD,
    REJECT,
    YES,
    Rule,
)

MAX_RECEIVE = 262144
"""Longest data segment that this target takes."""
LOGIN_TEXT = 8192
"""Longest data segment of the login phase (13.12), and what holds where a side declares none."""

OURS: Mapping[str, str] = {
    "HeaderDigest": f"None,{CRC32C}",
    "DataDigest": f"None,{CRC32C}",
    "MaxConnections": "1",
    "InitialR2T": "No",
    "ImmediateData": "Yes",
    "MaxBurstLength": str(1 << 20),
    "FirstBurstLength": str(MAX_RECEIVE),
    "DefaultTime2Wait": "0",
    "DefaultTime2Retain": "0",
    "MaxOutstandingR2T": "1",
    "DataPDUInOrder": "Yes",
    "DataSequenceInOrder": "Yes",
    "ErrorRecoveryLevel": "0",
    "TaskReporting": "RFC3720",
    "iSCSIProtocolLevel": "1",
    "OFMarker": "No",
    "IFMarker": "No",
}


@dataclass(frozen=True, slots=True)
class Parameters:
    """The results, of keys that make a difference here. Lengths in bytes.

    ``max_send``: longest data segment that the initiator takes; ``max_receive``: that it was told to send.
    """

    header_digest: bool = False
    data_digest: bool = False
    initial_r2t: bool = True
    immediate_data: bool = True
    max_send: int = LOGIN_TEXT
    max_receive: int = LOGIN_TEXT
    max_burst: int = 262144
    first_burst: int = 65536


class Negotiation:
    """Operational keys of one login phase. ``answer`` takes each offer once."""

    def __init__(self, discovery: bool) -> None:
        self._discovery = discovery
        self._results: dict[str, str] = {}
        self._declared = False

    def answer(self, name: str, offered: str) -> str | None:
        """What to answer to ``name=offered``; None for nothing. WireError where it cannot be offered."""
        key = KEYS.get(name)
        if key is None:
            return NOT_UNDERSTOOD
        if name in self._results:
            raise WireError(f"{name} is negotiated twice")
        if self._discovery and name in DISCOVERY_IRRELEVANT:
            return IRRELEVANT
        found = key.answer(offered, OURS.get(name, ""))
        if found == REJECT:
            raise WireError(f"{name}={offered[:40]} has nothing that this target can do")
        self._results[name] = found
        return None if key.rule is Rule.DECLARED else found

    def declare(self) -> list[tuple[str, str]]:
        """What this side declares, once, in the stage of operational negotiation."""
        if self._declared:
            return []
        self._declared = True
        return [("MaxRecvDataSegmentLength", str(MAX_RECEIVE))]

    def parameters(self) -> Parameters:
        found = {name: self._results.get(name, key.default) for name, key in KEYS.items()}
        burst = int(found["MaxBurstLength"])
        return Parameters(
            found["HeaderDigest"] == CRC32C, found["DataDigest"] == CRC32C, found["InitialR2T"] == YES,
            found["ImmediateData"] == YES, int(found["MaxRecvDataSegmentLength"]),
            MAX_RECEIVE if self._declared else LOGIN_TEXT, burst,
            # 13.14: never longer than a burst.
            min(burst, int(found["FirstBurstLength"])))
