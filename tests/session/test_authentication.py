"""Who may speak: MD5 and text (3.1.2), server authentication (3.1.4), what failures cost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ndmpd.session import AuthPolicy, User, effects
from ndmpd.session.authentication import digest
from protocol.ndmp.codes import AuthType, ConnectionStatusReason, Error, LogType
from protocol.ndmp.config import ConfigGetAuthAttrReply, ConfigGetAuthAttrRequest, ConfigGetHostInfoRequest
from protocol.ndmp.connect import AuthAttr, AuthData, ConnectClientAuthRequest, ConnectServerAuthRequest
from protocol.ndmp.notify import NotifyConnectionStatusPost
from tests.session.driver import POLICY, USERS, Dma, posts

TEXT, MD5, NONE = AuthType.TEXT, AuthType.MD5, AuthType.NONE
COUNTING = bytes(range(64))


@pytest.mark.parametrize(("password", "expected"), [
    ("ndmp", "bc7d61077ebc1e1bf84a59827c26dd65"),
    ("x", "f594120ce34d5a0535b61983b9d3c9aa"),
    ("0123456789012345678901234567890123456789", "a1f99d711a7fde6e339c04e8b33c21fd"),
])
def test_the_digest_is_the_one_that_md5sum_gives(password: str, expected: str) -> None:
    """Made with md5sum from 128 bytes laid out by hand: password, zeros, the bytes 0 to 63, password."""
    assert digest(password.encode(), COUNTING).hex() == expected


def test_a_password_is_cut_to_32_bytes() -> None:
    assert digest(b"p" * 32, COUNTING) == digest(b"p" * 33, COUNTING) != digest(b"p" * 31, COUNTING)


def challenge(dma: Dma) -> bytes:
    reply = dma.turn(ConfigGetAuthAttrRequest(MD5))[0].body
    assert isinstance(reply, ConfigGetAuthAttrReply) and reply.server_attr.auth_type == MD5
    return reply.server_attr.challenge


def by_md5(name: str, secret: bytes) -> Callable[[Dma], AuthData]:
    return lambda dma: AuthData(MD5, auth_id=name, auth_digest=digest(secret, challenge(dma)))


def by_text(name: str, password: str) -> Callable[[Dma], AuthData]:
    return lambda dma: AuthData(TEXT, auth_id=name, auth_password=password)


@pytest.mark.parametrize(("proof", "error"), [
    (by_text("ndmp", "secret"), Error.NO_ERR),
    (by_md5("ndmp", b"secret"), Error.NO_ERR),
    (by_md5("md5", b"secret"), Error.NO_ERR),
    (by_text("ndmp", "wrong"), Error.NOT_AUTHORIZED),
    (by_md5("ndmp", b"wrong"), Error.NOT_AUTHORIZED),
    (by_text("ndmp", ""), Error.NOT_AUTHORIZED),
    (by_text("nobody", "secret"), Error.NOT_AUTHORIZED),
    (by_text("nobody", "\0"), Error.NOT_AUTHORIZED),
    (by_md5("nobody", b"\0"), Error.NOT_AUTHORIZED),
    (by_text("md5", "secret"), Error.NOT_AUTHORIZED),
    (by_text("empty", ""), Error.NOT_AUTHORIZED),
    (by_md5("empty", b""), Error.NOT_AUTHORIZED),
    (lambda dma: AuthData(NONE), Error.ILLEGAL_ARGS),
    (lambda dma: AuthData(123), Error.ILLEGAL_ARGS),
])
def test_only_the_right_proof_opens_the_session(proof: Callable[[Dma], AuthData], error: Error) -> None:
    dma = Dma(authorized=False)
    assert dma.ask(ConnectClientAuthRequest(proof(dma))) == error
    served = dma.ask(ConfigGetHostInfoRequest())
    assert served == (None if error == Error.NO_ERR else Error.NOT_AUTHORIZED)


def test_a_policy_without_the_method_refuses_it_before_the_secret_is_sent() -> None:
    dma = Dma(policy=AuthPolicy(USERS, methods=frozenset({MD5})), authorized=False)
    assert dma.ask(ConfigGetAuthAttrRequest(TEXT)) == Error.ILLEGAL_ARGS
    assert dma.ask(ConnectClientAuthRequest(AuthData(TEXT, "ndmp", "secret"))) == Error.ILLEGAL_ARGS
    assert dma.ask(ConfigGetAuthAttrRequest(123)) == Error.ILLEGAL_ARGS


def test_none_opens_a_session_only_where_the_policy_says_so() -> None:
    dma = Dma(policy=AuthPolicy({}, methods=frozenset({NONE})), authorized=False)
    assert dma.ask(ConfigGetAuthAttrRequest(NONE)) == Error.NO_ERR
    assert dma.ask(ConnectClientAuthRequest(AuthData(NONE))) == Error.NO_ERR
    assert dma.ask(ConfigGetHostInfoRequest()) is None
    assert dma.session.user is None


def test_the_last_challenge_counts_and_counts_once() -> None:
    """3.2.4; and a digest that was overheard is worth nothing."""
    dma = Dma(authorized=False)
    first = AuthData(MD5, auth_id="ndmp", auth_digest=digest(b"secret", challenge(dma)))
    second = AuthData(MD5, auth_id="ndmp", auth_digest=digest(b"secret", challenge(dma)))
    assert len(set(dma.challenges.given)) == 2
    assert dma.ask(ConnectClientAuthRequest(first)) == Error.NOT_AUTHORIZED
    assert dma.ask(ConnectClientAuthRequest(second)) == Error.NOT_AUTHORIZED


def test_an_answer_to_no_challenge_is_wrong() -> None:
    dma = Dma(authorized=False)
    guess = AuthData(MD5, auth_id="ndmp", auth_digest=digest(b"secret", bytes(64)))
    assert dma.ask(ConnectClientAuthRequest(guess)) == Error.NOT_AUTHORIZED


def test_a_failure_costs_time_and_the_third_the_connection() -> None:
    dma = Dma(authorized=False)
    for attempt in 1, 2:
        seen = dma.turn(ConnectClientAuthRequest(AuthData(TEXT, "ndmp", "guess")))
        assert [one.delay for one in seen] == [POLICY.failure_delay]
        assert dma.notes[-1] == f"user 'ndmp' failed to authenticate by TEXT, attempt {attempt} of 3"
    seen = dma.turn(ConnectClientAuthRequest(AuthData(TEXT, "ndmp", "guess")))
    assert [one.error for one in seen] == [Error.NOT_AUTHORIZED, None]
    assert posts(seen) == [NotifyConnectionStatusPost(ConnectionStatusReason.SHUTDOWN, 4, "")]
    assert dma.deeds == [effects.ReleaseAll(), effects.Disconnect()]
    assert dma.session.closed
    assert dma.turn(ConnectClientAuthRequest(AuthData(TEXT, "ndmp", "secret"))) == []


def test_a_success_is_not_held_back() -> None:
    seen = Dma(authorized=False).turn(ConnectClientAuthRequest(AuthData(TEXT, "ndmp", "secret")))
    assert [one.delay for one in seen] == [0.0]


def test_no_secret_is_ever_written_down() -> None:
    dma = Dma(authorized=False)
    dma.ask(ConnectClientAuthRequest(AuthData(TEXT, "ndmp", "almost-secret")))
    dma.ask(ConnectClientAuthRequest(by_md5("ndmp", b"almost-secret")(dma)))
    assert not any("secret" in note for note in dma.notes)
    assert "secret" not in repr(User(b"secret"))


def test_a_hostile_name_cannot_fill_or_forge_the_log() -> None:
    dma = Dma(authorized=False)
    dma.ask(ConnectClientAuthRequest(AuthData(TEXT, "x\n" * 1000, "guess")))
    assert len(dma.notes[-1]) < 400 and "\n" not in dma.notes[-1]


def test_before_authentication_no_refusal_is_explained_to_the_peer() -> None:
    dma = Dma(authorized=False)
    dma.ask(ConnectClientAuthRequest(AuthData(123)))
    dma.ask(ConfigGetHostInfoRequest())
    assert [post for post in posts(dma.seen) if not isinstance(post, NotifyConnectionStatusPost)] == []


def test_a_failure_after_a_success_leaves_the_session_open() -> None:
    dma = Dma()
    assert dma.ask(ConnectClientAuthRequest(AuthData(TEXT, "ndmp", "guess"))) == Error.NOT_AUTHORIZED
    assert dma.session.user == "ndmp"
    assert dma.ask(ConfigGetHostInfoRequest()) is None


# The server's own proof

def test_the_server_answers_the_challenge_of_an_authenticated_dma() -> None:
    dma = Dma()
    seen = dma.turn(ConnectServerAuthRequest(AuthAttr(MD5, COUNTING)))
    result = seen[0].body.server_result
    assert (result.auth_type, result.auth_id) == (MD5, "ndmp")
    assert result.auth_digest == digest(b"secret", COUNTING)


def test_the_server_sends_no_password_back() -> None:
    assert Dma().ask(ConnectServerAuthRequest(AuthAttr(TEXT))) == Error.ILLEGAL_ARGS
    assert Dma().ask(ConnectServerAuthRequest(AuthAttr(NONE))) == Error.NO_ERR


def test_the_server_proves_nothing_to_a_dma_without_a_name() -> None:
    dma = Dma(policy=AuthPolicy({}, methods=frozenset({NONE})), authorized=False)
    assert dma.ask(ConnectServerAuthRequest(AuthAttr(MD5))) == Error.NOT_AUTHORIZED
    dma.ask(ConnectClientAuthRequest(AuthData(NONE)))
    assert dma.ask(ConnectServerAuthRequest(AuthAttr(MD5))) == Error.NOT_AUTHORIZED


def test_notes_of_failures_are_warnings() -> None:
    dma = Dma(authorized=False)
    dma.ask(ConnectClientAuthRequest(AuthData(TEXT, "ndmp", "guess")))
    assert [effect.kind for effect in dma.last if isinstance(effect, effects.Note)] == [LogType.WARNING]
