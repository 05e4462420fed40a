"""The login phase over a connection: requests in, responses out, until there is a session."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from ndmpd.san.target.channel import Channel, DataDigestError, Gone
from ndmpd.san.target.login import Login, LoginRefused, Rules
from ndmpd.san.target.numbers import following
from ndmpd.san.target.parameters import LOGIN_TEXT
from ndmpd.san.target.session import WINDOW, Session
from protocol.errors import WireError
from protocol.iscsi.pdu import Lengths, Opcode
from protocol.iscsi.session import LoginRequest, LoginResponse

_FIRST_STATUS = 1
_PENALTY = 1.0
"""Seconds that a wrong secret costs."""


def log_in(channel: Channel, rules: Rules, enter: Callable[[Login, int, int], Session]) -> Session:
    """The session that comes of it. ``enter`` makes it, of the login and the first CmdSN and StatSN.

    LoginRefused, when the initiator has been told so; Gone or WireError where it does not log in at all.
    """
    login, stat_sn = Login(rules), _FIRST_STATUS
    while True:
        header = channel.header()
        if header is None:
            raise Gone("the initiator hung up before it had logged in")
        lengths = Lengths.take(header)
        if lengths.opcode != Opcode.LOGIN_REQUEST or lengths.data > LOGIN_TEXT:
            raise WireError(f"opcode {lengths.opcode:02X}h with {lengths.data} bytes instead of a login")
        channel.rest(header)
        try:
            data = channel.data(lengths.data)
        except DataDigestError as error:
            raise WireError("a digest before any was agreed") from error
        request = LoginRequest.take(header)
        numbers = {"exp_cmd_sn": request.cmd_sn, "max_cmd_sn": (request.cmd_sn + WINDOW - 1) % (1 << 32)}
        session = None
        try:
            response, text = login.receive(request, data)
            if login.done:
                session = enter(login, request.cmd_sn, following(stat_sn))
                response = replace(response, tsih=session.identity.tsih)
        except LoginRefused as refused:
            if refused.guess:
                time.sleep(_PENALTY)
            refusal = LoginResponse(task_tag=request.task_tag, stage=request.stage, isid=request.isid,
                                    tsih=request.tsih, status=refused.status, stat_sn=stat_sn, **numbers)
            channel.send((refusal.put(), b""))
            raise
        answer = replace(response, stat_sn=stat_sn, **numbers)
        if session is None:
            channel.send((answer.put(len(text)), text))
            stat_sn = following(stat_sn)
        else:
            session.begin(answer, text)
            return session
