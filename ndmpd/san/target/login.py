"""The login phase: from the first request to what the session is. RFC 7143 clause 6.3. No input or output.

``Login.receive`` takes a request and gives the response. What it cannot take raises LoginRefused, whose
status is what the initiator is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ndmpd.san.target.authentication import STEPS, Chap, ChapUser, Refused
from ndmpd.san.target.parameters import LOGIN_TEXT, Negotiation, Parameters
from protocol.errors import WireError
from protocol.iscsi.keys import DECLARATIONS, NONE, NOT_UNDERSTOOD
from protocol.iscsi.session import LoginRequest, LoginResponse, LoginStatus, Stage
from protocol.iscsi.text import put_text, take_text

PORTAL_GROUP = "1"
_MAX_REQUESTS = 32
_MAX_TEXT = 4 * LOGIN_TEXT
_NAME = re.compile(r"(iqn\.|eui\.|naa\.)[a-z0-9.:-]{1,150}")
"""Names that 4.2.7 allows, no longer than can name a nexus."""
_CHAP = "CHAP"


class LoginRefused(Exception):
    """``status`` is for the initiator, the text for the log. ``guess``: somebody may be trying secrets."""

    def __init__(self, status: LoginStatus, text: str, *, guess: bool = False) -> None:
        super().__init__(text)
        self.status = status
        self.guess = guess


@dataclass(frozen=True, slots=True)
class Rules:
    """Who may log in. ``admits(initiator, target)``: whether that initiator may see that target at all, ""
    being discovery. ``knows``: whether there is such a target. Without ``users`` nobody has to prove
    anything.
    """

    admits: Callable[[str, str], bool]
    knows: Callable[[str], bool]
    users: Mapping[str, ChapUser]


class Login:
    """``initiator``, ``target`` ("" for discovery) and ``user`` are known as the phase goes on."""

    def __init__(self, rules: Rules) -> None:
        self.initiator = self.target = ""
        self.discovery = False
        self.done = False
        self.isid = 0
        self.tsih = 0
        self._rules = rules
        self._chap: Chap | None = None
        self._authenticated = not rules.users
        self._negotiation: Negotiation | None = None
        self._stage = Stage.SECURITY
        self._requests = 0
        self._text = bytearray()
        self._tag: int | None = None

    @property
    def user(self) -> str:
        return self._chap.user if self._chap else ""

    @property
    def parameters(self) -> Parameters:
        return self._negotiation.parameters() if self._negotiation else Parameters()

    def receive(self, request: LoginRequest, data: bytes) -> tuple[LoginResponse, bytes]:
        """The response and its text; numbers are for the caller to fill in."""
        self._requests += 1
        if self._requests > _MAX_REQUESTS or len(self._text) + len(data) > _MAX_TEXT:
            raise LoginRefused(LoginStatus.INITIATOR_ERROR, "the login phase does not come to an end")
        if self._tag is None:
            self._open(request)
        elif (request.task_tag, request.isid) != (self._tag, self.isid):
            raise LoginRefused(LoginStatus.INVALID_REQUEST, "the requests do not belong together")
        self._check_stages(request)
        self._text += data
        if request.go_on:
            return self._response(request, transit=False), b""
        try:
            pairs = take_text(self._text)
            self._text.clear()
            answers = self._answer(Stage(request.stage), pairs)
        except WireError as error:
            raise LoginRefused(LoginStatus.INITIATOR_ERROR, str(error)) from error
        except Refused as error:
            raise LoginRefused(LoginStatus.AUTHENTICATION_FAILURE, str(error), guess=True) from error
        return self._response(request, transit=self._move(request)), put_text(answers)

    def _open(self, request: LoginRequest) -> None:
        if request.version_min > 0:
            raise LoginRefused(LoginStatus.UNSUPPORTED_VERSION, f"version {request.version_min}")
        self._tag, self.isid, self.tsih = request.task_tag, request.isid, request.tsih
        self._stage = Stage(request.stage) if request.stage in (0, 1) else Stage.SECURITY

    def _check_stages(self, request: LoginRequest) -> None:
        if request.stage != self._stage or (request.transit and (
                request.go_on or request.next_stage not in (Stage.OPERATIONAL, Stage.FULL_FEATURE)
                or request.next_stage <= request.stage)):
            raise LoginRefused(LoginStatus.INVALID_REQUEST,
                               f"stage {request.stage} to {request.next_stage} at stage {int(self._stage)}")

    def _answer(self, stage: Stage, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        keys = dict(pairs)
        answers: list[tuple[str, str]] = []
        if not self.initiator:
            answers += self._identify(keys)
        if stage is Stage.SECURITY:
            return answers + self._prove(keys)
        if not self._authenticated:
            raise LoginRefused(LoginStatus.AUTHENTICATION_FAILURE, f"{self.initiator} would not prove itself")
        negotiation = self._negotiation = self._negotiation or Negotiation(self.discovery)
        for name, offered in pairs:
            if name not in DECLARATIONS and (found := negotiation.answer(name, offered)) is not None:
                answers.append((name, found))
        return answers + negotiation.declare()

    def _identify(self, keys: Mapping[str, str]) -> list[tuple[str, str]]:
        """Who it is and what it wants, which the first request must say (6.3.1)."""
        name, kind = keys.get("InitiatorName", ""), keys.get("SessionType", "Normal")
        if not name:
            raise LoginRefused(LoginStatus.MISSING_PARAMETER, "there is no InitiatorName")
        if not _NAME.fullmatch(name.lower()):
            raise LoginRefused(LoginStatus.INITIATOR_ERROR, f"{name[:60]!r} is no iSCSI name")
        if kind not in ("Normal", "Discovery"):
            raise LoginRefused(LoginStatus.SESSION_TYPE, f"SessionType={kind[:20]}")
        self.initiator, self.discovery = name.lower(), kind == "Discovery"
        if not self.discovery:
            self.target = keys.get("TargetName", "").lower()
            if not self.target:
                raise LoginRefused(LoginStatus.MISSING_PARAMETER, "there is no TargetName")
        if not self._rules.admits(self.initiator, self.target):
            raise LoginRefused(LoginStatus.AUTHORIZATION_FAILURE, f"{self.initiator} may not come here")
        if not self.discovery and not self._rules.knows(self.target):
            raise LoginRefused(LoginStatus.NOT_FOUND, f"there is no target {self.target[:80]!r}")
        return [] if self.discovery else [("TargetPortalGroupTag", PORTAL_GROUP)]

    def _prove(self, keys: Mapping[str, str]) -> list[tuple[str, str]]:
        answers = [(name, NOT_UNDERSTOOD) for name in keys
                   if name not in DECLARATIONS and name not in STEPS and name != "AuthMethod"]
        if "AuthMethod" in keys:
            offered = keys["AuthMethod"].split(",")
            wanted = _CHAP if self._rules.users else NONE
            if wanted not in offered:
                raise LoginRefused(LoginStatus.AUTHENTICATION_FAILURE,
                                   f"{self.initiator} offers AuthMethod={keys['AuthMethod'][:40]} and this "
                                   f"target wants {wanted}")
            answers.append(("AuthMethod", wanted))
            if self._rules.users and self._chap is None:
                self._chap = Chap(self._rules.users)
        if self._chap is not None and STEPS & keys.keys():
            answers += self._chap.step(keys)
            self._authenticated = bool(self._chap.user)
        return answers

    def _move(self, request: LoginRequest) -> bool:
        """Whether the initiator's wish to leave the stage is granted."""
        if not request.transit:
            return False
        if not self._authenticated:
            if self._chap is None:
                raise LoginRefused(LoginStatus.AUTHENTICATION_FAILURE,
                                   f"{self.initiator} would not prove itself")
            return False
        self._stage = Stage(request.next_stage)
        self.done = self._stage is Stage.FULL_FEATURE
        return True

    def _response(self, request: LoginRequest, *, transit: bool) -> LoginResponse:
        return LoginResponse(task_tag=request.task_tag, transit=int(transit), stage=request.stage,
                             next_stage=request.next_stage if transit else 0, isid=request.isid,
                             tsih=request.tsih)
