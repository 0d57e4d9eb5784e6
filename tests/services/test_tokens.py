"""Tokens: those of ours that are good are believed, and nothing else is."""

from datetime import UTC, datetime, timedelta

import jwt
import pytest

from services import tokens
from services.errors import Unauthenticated
from services.keys import Keys
from tests.services.forgeries import ACCESS, BODY, REQUEST, access_forger, request_forger

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
KEYS = Keys.generate()
ACCESS_KEY, SECRET_KEY = "BK000000000000000001", "k" * 40
SKEW = timedelta(seconds=30)

#: Good in themselves; whether there is such a login, only the database knows (auth/).
_STATEFUL = {"an older epoch", "a later epoch", "a login of nobody", "somebody else's login"}


def read_request(token: str, **changes) -> tokens.RequestClaims:  # type: ignore[no-untyped-def]
    asked = {
        "access_key": ACCESS_KEY,
        "method": "POST",
        "target": "/graphql",
        "body": BODY,
        "now": NOW,
        "skew": SKEW,
    }
    return tokens.read_request(token, SECRET_KEY, **{**asked, **changes})


def look_up_and_read(token: str) -> tokens.RequestClaims:
    """As the caller does: the keypair is looked up by `kid` first, and there is one."""
    if tokens.key_id(token) != ACCESS_KEY:
        raise Unauthenticated("no such keypair")
    return read_request(token)


def test_an_access_token_says_what_it_was_made_of() -> None:
    claims = tokens.AccessClaims("usr_1", "lgn_1", 3)
    token, expires_at = tokens.issue_access(KEYS, claims, NOW, timedelta(minutes=10))
    assert expires_at == NOW + timedelta(minutes=10)
    assert tokens.read_access(KEYS, token, NOW) == claims
    payload = jwt.decode(token, options={"verify_signature": False})
    assert set(payload) == {"aud", "sub", "sid", "epoch", "iat", "exp", "jti"}


def test_an_access_token_ends_with_its_login() -> None:
    _, expires_at = tokens.issue_access(
        KEYS, tokens.AccessClaims("u", "l", 0), NOW, timedelta(minutes=10), until=NOW + timedelta(minutes=2)
    )
    assert expires_at == NOW + timedelta(minutes=2)


def test_an_access_token_is_good_until_the_second_in_which_it_ends() -> None:
    token, expires_at = tokens.issue_access(
        KEYS, tokens.AccessClaims("u", "l", 0), NOW, timedelta(minutes=10)
    )
    assert tokens.read_access(KEYS, token, expires_at - timedelta(seconds=1))
    with pytest.raises(Unauthenticated, match="expired"):
        tokens.read_access(KEYS, token, expires_at)


def test_a_token_of_an_older_key_is_good_while_that_key_is_kept() -> None:
    token, _ = tokens.issue_access(KEYS, tokens.AccessClaims("u", "l", 0), NOW, timedelta(minutes=10))
    rotated = Keys({**KEYS.signing, "s2": b"2" * 32}, KEYS.sealing, "s2", KEYS.current_sealing)
    assert tokens.read_access(rotated, token, NOW)
    dropped = Keys({"s2": b"2" * 32}, KEYS.sealing, "s2", KEYS.current_sealing)
    with pytest.raises(Unauthenticated):
        tokens.read_access(dropped, token, NOW)


@pytest.mark.parametrize("wrong", [name for name in ACCESS if name not in _STATEFUL])
def test_a_forged_access_token_is_refused(wrong: str) -> None:
    forger = access_forger(KEYS, "usr_1", "lgn_1", NOW)
    assert tokens.read_access(KEYS, forger.good(), NOW)
    with pytest.raises(Unauthenticated):
        tokens.read_access(KEYS, ACCESS[wrong](forger), NOW)


@pytest.mark.parametrize("wrong", REQUEST)
def test_a_forged_request_is_refused(wrong: str) -> None:
    forger = request_forger(ACCESS_KEY, SECRET_KEY, NOW)
    assert read_request(forger.good())
    forged = REQUEST[wrong](forger)
    with pytest.raises(Unauthenticated):
        look_up_and_read(forged)


@pytest.mark.parametrize(
    "sent", [{"method": "GET"}, {"target": "/graphql?x=1"}, {"target": "/graphql/"}, {"body": BODY + b" "}]
)
def test_a_request_that_differs_from_what_was_signed_is_refused(sent: dict[str, object]) -> None:
    with pytest.raises(Unauthenticated, match="another"):
        read_request(request_forger(ACCESS_KEY, SECRET_KEY, NOW).good(), **sent)


@pytest.mark.parametrize("seconds", [-30, -10, 0, 30, 89])
def test_a_clock_that_is_a_little_off_does_no_harm(seconds: int) -> None:
    token = request_forger(ACCESS_KEY, SECRET_KEY, NOW).good()
    assert read_request(token, now=NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize("seconds", [-31, 90, 3600])
def test_a_clock_that_is_far_off_is_told_so(seconds: int) -> None:
    token = request_forger(ACCESS_KEY, SECRET_KEY, NOW).good()
    with pytest.raises(Unauthenticated, match=r"expired|clock"):
        read_request(token, now=NOW + timedelta(seconds=seconds))


def test_a_request_is_remembered_until_it_is_surely_void() -> None:
    claims = read_request(request_forger(ACCESS_KEY, SECRET_KEY, NOW).good())
    assert claims.void_at == NOW + timedelta(seconds=60) + SKEW


def test_an_access_token_is_no_signed_request_and_the_other_way_round() -> None:
    access = access_forger(KEYS, "usr_1", "lgn_1", NOW)
    request = request_forger(ACCESS_KEY, SECRET_KEY, NOW)
    with pytest.raises(Unauthenticated):
        read_request(access.good())
    with pytest.raises(Unauthenticated):
        tokens.read_access(KEYS, request.good(), NOW)
