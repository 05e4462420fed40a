"""The keys of a session's negotiation: one table of what each means and how its value is found.

RFC 7143 clauses 6.2 and 13, whose numbers stand beside the keys; RFC 7144 for iSCSIProtocolLevel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from protocol.errors import WireError
from protocol.iscsi.text import take_number

NOT_UNDERSTOOD, REJECT, IRRELEVANT, NONE = "NotUnderstood", "Reject", "Irrelevant", "None"
YES, NO = "Yes", "No"
CRC32C = "CRC32C"


class Rule(Enum):
    """How the result comes of the two sides' values."""

    DECLARED = auto()
    """Each side's own; no answer."""
    MINIMUM = auto()
    MAXIMUM = auto()
    AND = auto()
    OR = auto()
    LIST = auto()
    """The first of the offered values that the answering side has."""


@dataclass(frozen=True, slots=True)
class Key:
    """``default`` holds where nothing is said; ``low`` and ``high`` bound numbers."""

    name: str
    rule: Rule
    default: str
    low: int = 0
    high: int = 0

    def answer(self, offered: str, ours: str) -> str:
        """What to answer to an offer, which is the result too. WireError for a value the key cannot have."""
        match self.rule:
            case Rule.DECLARED:
                return str(self._number(offered))
            case Rule.MINIMUM:
                return str(min(self._number(offered), int(ours)))
            case Rule.MAXIMUM:
                return str(max(self._number(offered), int(ours)))
            case Rule.AND:
                return YES if self._truth(offered) and ours == YES else NO
            case Rule.OR:
                return YES if self._truth(offered) or ours == YES else NO
            case Rule.LIST:
                mine = ours.split(",")
                return next((one for one in offered.split(",") if one in mine), REJECT)

    def _number(self, value: str) -> int:
        number = take_number(value)
        if not self.low <= number <= self.high:
            raise WireError(f"{self.name}={value} is not in {self.low} to {self.high}")
        return number

    def _truth(self, value: str) -> bool:
        if value not in (YES, NO):
            raise WireError(f"{self.name}={value[:20]} is neither Yes nor No")
        return value == YES


_MOST = 0xFFFFFF

KEYS: Mapping[str, Key] = {key.name: key for key in (
    Key("HeaderDigest", Rule.LIST, NONE),  # 13.1
    Key("DataDigest", Rule.LIST, NONE),
    Key("MaxConnections", Rule.MINIMUM, "1", 1, 65535),  # 13.2
    Key("InitialR2T", Rule.OR, YES),  # 13.10
    Key("ImmediateData", Rule.AND, YES),  # 13.11
    Key("MaxRecvDataSegmentLength", Rule.DECLARED, "8192", 512, _MOST),  # 13.12
    Key("MaxBurstLength", Rule.MINIMUM, "262144", 512, _MOST),  # 13.13
    Key("FirstBurstLength", Rule.MINIMUM, "65536", 512, _MOST),  # 13.14
    Key("DefaultTime2Wait", Rule.MAXIMUM, "2", 0, 3600),  # 13.15
    Key("DefaultTime2Retain", Rule.MINIMUM, "20", 0, 3600),  # 13.16
    Key("MaxOutstandingR2T", Rule.MINIMUM, "1", 1, 65535),  # 13.17
    Key("DataPDUInOrder", Rule.OR, YES),  # 13.18
    Key("DataSequenceInOrder", Rule.OR, YES),  # 13.19
    Key("ErrorRecoveryLevel", Rule.MINIMUM, "0", 0, 2),  # 13.20
    Key("TaskReporting", Rule.LIST, "RFC3720"),  # 13.23
    Key("iSCSIProtocolLevel", Rule.MINIMUM, "1", 0, 31),
    Key("OFMarker", Rule.AND, NO),  # RFC 3720 A.3: obsolete, and never used
    Key("IFMarker", Rule.AND, NO),
)}
DISCOVERY_IRRELEVANT = frozenset({
    "MaxConnections", "InitialR2T", "ImmediateData", "MaxBurstLength", "FirstBurstLength",
    "MaxOutstandingR2T", "DataPDUInOrder", "DataSequenceInOrder"})
"""Keys that a discovery session has no use for (13.2, 13.10 and so on)."""
DECLARATIONS = frozenset({
    "InitiatorName", "InitiatorAlias", "TargetName", "TargetAlias", "TargetAddress", "SessionType",
    "TargetPortalGroupTag"})
"""Keys that only state something, and get no answer."""
