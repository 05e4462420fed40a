"""CHAP as a login phase carries it: who the initiator is, and, if it asks, who we are. RFC 7143 12.1.3.

The steps: the initiator offers algorithms (CHAP_A); we choose one and challenge it (CHAP_I, CHAP_C); it
answers with its name (CHAP_N, CHAP_R), and may challenge us in turn.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from protocol.errors import WireError
from protocol.iscsi.chap import MAX_BINARY, Algorithm, matches, response
from protocol.iscsi.keys import REJECT
from protocol.iscsi.text import put_binary, take_binary, take_number

_CHALLENGE = 32
_PREFERRED = (Algorithm.SHA_256, Algorithm.MD5)
STEPS = frozenset({"CHAP_A", "CHAP_I", "CHAP_C", "CHAP_N", "CHAP_R"})


@dataclass(frozen=True, slots=True)
class ChapUser:
    """``secret``: what the initiator must know. ``our_name``, ``our_secret``: what we answer with where it
    challenges us; without them we cannot.
    """

    name: str
    secret: bytes = field(repr=False)
    our_name: str = ""
    our_secret: bytes = field(default=b"", repr=False)


class Refused(Exception):
    """The initiator is not who it says, or does not speak CHAP as it must. The text is for the log."""


class Chap:
    """One conversation."""

    def __init__(self, users: Mapping[str, ChapUser]) -> None:
        self._users = users
        self._algorithm: Algorithm | None = None
        self._identifier = secrets.randbelow(256)
        self._challenge = secrets.token_bytes(_CHALLENGE)
        self.user = ""
        """Who it is, once that is known."""

    def step(self, keys: Mapping[str, str]) -> list[tuple[str, str]]:
        """What to answer to the CHAP keys of one request. Refused; WireError for values that are none."""
        if "CHAP_A" in keys:
            if self._algorithm is not None:
                raise Refused("CHAP_A comes twice")
            return self._challenge_it(keys["CHAP_A"])
        if self._algorithm is None or self.user:
            raise Refused("a step of CHAP out of order")
        if "CHAP_N" not in keys or "CHAP_R" not in keys:
            raise Refused("CHAP_N or CHAP_R is missing")
        return self._judge(self._algorithm, keys)

    def _challenge_it(self, offered: str) -> list[tuple[str, str]]:
        numbers = {take_number(one) for one in offered.split(",")}
        self._algorithm = next((one for one in _PREFERRED if one in numbers), None)
        if self._algorithm is None:
            raise Refused(f"CHAP_A={offered[:40]} has no algorithm that this target knows ({REJECT})")
        return [("CHAP_A", str(int(self._algorithm))), ("CHAP_I", str(self._identifier)),
                ("CHAP_C", put_binary(self._challenge))]

    def _judge(self, algorithm: Algorithm, keys: Mapping[str, str]) -> list[tuple[str, str]]:
        user = self._users.get(keys["CHAP_N"])
        answer = take_binary(keys["CHAP_R"], MAX_BINARY)
        # A name that is not known takes as long as a wrong secret.
        secret = user.secret if user else self._challenge
        right = matches(algorithm, self._identifier, secret, self._challenge, answer)
        if user is None or not right:
            raise Refused(f"the user {keys['CHAP_N'][:60]!r} is unknown, or the secret is wrong")
        answers: list[tuple[str, str]] = []
        if "CHAP_I" in keys or "CHAP_C" in keys:
            answers = self._answer(algorithm, user, keys)
        self.user = user.name
        return answers

    def _answer(self, algorithm: Algorithm, user: ChapUser, keys: Mapping[str, str]) -> list[tuple[str, str]]:
        if not user.our_secret:
            raise Refused(f"{user.name} wants to know who we are, and there is no secret for that")
        identifier = take_number(keys.get("CHAP_I", ""))
        challenge = take_binary(keys.get("CHAP_C", ""), MAX_BINARY)
        if identifier > 255:
            raise WireError("CHAP_I is more than a byte")
        # 9.2.1: whoever sends our own challenge back wants us to answer it for him.
        if hmac.compare_digest(challenge, self._challenge):
            raise Refused(f"{user.name} sends our own challenge back")
        return [("CHAP_N", user.our_name),
                ("CHAP_R", put_binary(response(algorithm, identifier, user.our_secret, challenge)))]
