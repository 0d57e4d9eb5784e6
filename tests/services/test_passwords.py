"""Passwords: the rules, each reported, and hashes that take their time."""

import pytest
from argon2 import extract_parameters
from argon2.low_level import Type

from services import passwords
from services.errors import Problems, Unavailable


@pytest.mark.parametrize(
    ("password", "rules"),
    [
        ("short-1", ["at least 8 characters"]),
        ("12345678!", ["one letter"]),
        ("abcdefgh!", ["one digit"]),
        ("abcdefg1", ["one special character"]),
        ("abcdefg1 ", ["one special character"]),
        ("", ["at least 8 characters", "one letter", "one digit", "one special character"]),
        ("a1!" * 400, ["at most 1024 bytes"]),
        ("a1!" + "\ud800" * 8, ["consists of characters"]),
    ],
)
def test_each_broken_rule_is_named(password: str, rules: list[str]) -> None:
    found = passwords.broken_rules(password)
    assert len(found) == len(rules)
    assert all(rule in sentence for rule, sentence in zip(rules, found, strict=True))


@pytest.mark.parametrize("password", ["right-horse-1", "비밀번호가-1입니다", "ünïcödé 9€", "a1!" * 341])
def test_these_will_do(password: str) -> None:
    assert passwords.broken_rules(password) == []


def test_all_broken_rules_are_reported_for_their_field() -> None:
    problems = Problems()
    passwords.check("abc", problems, "input.newPassword")
    assert [path for path, _ in problems.fields] == ["input.newPassword"] * 3


async def test_a_hash_has_the_parameters_that_owasp_names() -> None:
    parameters = extract_parameters(await passwords.hash_password("right-horse-1"))
    assert (parameters.type, parameters.memory_cost, parameters.time_cost, parameters.parallelism) == (
        Type.ID,
        19456,
        2,
        1,
    )


async def test_only_the_right_password_is_right() -> None:
    kept = await passwords.hash_password("right-horse-1")
    assert await passwords.verify("right-horse-1", kept)
    assert not await passwords.verify("right-horse-2", kept)
    assert not await passwords.verify("right-horse-1", None)
    assert not await passwords.verify("right-horse-1", "not a hash")
    assert not await passwords.verify("\ud800", kept)


async def test_what_is_cut_off_at_the_limit_is_not_taken_for_the_whole() -> None:
    kept = await passwords.hash_password("a" * passwords.MAX_BYTES)
    assert await passwords.verify("a" * passwords.MAX_BYTES, kept)
    assert not await passwords.verify("a" * (passwords.MAX_BYTES + 1), kept)


async def test_a_character_is_the_same_however_it_is_typed() -> None:
    kept = await passwords.hash_password("Åä-horse-1")
    assert await passwords.verify("A\u030aa\u0308-horse-1", kept)


async def test_an_unknown_user_is_given_as_much_work_as_a_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[str] = []
    real = passwords._HASHER.verify

    class Spy:
        def verify(self, kept: str, password: bytes) -> bool:
            verified.append(kept)
            return real(kept, password)

    monkeypatch.setattr(passwords, "_HASHER", Spy())
    assert not await passwords.verify("right-horse-1", None)
    (dummy,) = verified
    assert extract_parameters(dummy) == extract_parameters(passwords._DUMMY)


async def test_more_than_can_wait_are_put_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_MOST_WAITING", 0)
    with pytest.raises(Unavailable) as refused:
        await passwords.hash_password("right-horse-1")
    assert refused.value.extra["retry_after"] > 0
    monkeypatch.undo()
    assert await passwords.hash_password("right-horse-1")
