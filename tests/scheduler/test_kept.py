"""A snapshot that is kept and changed is the one that would be made anew."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.kept import KeptSnapshot
from scheduler.snapshot import SnapshotBuilder
from tests.scheduler.builders import described

SLOTS = ("cpu", "mem", "cuda")


def amounts(chance: random.Random) -> dict[str, int]:
    return {slot: chance.randint(0, 4) for slot in chance.sample(SLOTS, chance.randint(1, 3))}


def session(chance: random.Random, number: int) -> dict[str, Any]:
    return {
        "resource_group": chance.choice(("a", "b")),
        # Many different ones, so that shapes are forgotten now and then.
        "slots": {**amounts(chance), "cpu": number},
        "kernels": chance.randint(1, 2),
        "architectures": chance.choice(((), ("x86_64",))),
        "designated": chance.choice((None, None, ("n0",))),
        "image_id": chance.choice(("i", "")),
        "scopes": chance.choice(((), ("k", "g"))),
        "queued": number,
        "priority": chance.randint(0, 1),
        "user": chance.choice("uv"),
        "max_duration": chance.choice((None, 60)),
    }


def agent(chance: random.Random) -> dict[str, Any]:
    return {
        "resource_group": chance.choice(("a", "b")),
        "architecture": chance.choice(("x86_64", "aarch64")),
        "capacity": amounts(chance),
        "used": amounts(chance),
        "schedulable": chance.random() < 0.8,
        "images": frozenset(chance.sample("ij", chance.randint(0, 2))),
    }


@given(st.integers(0, 2**32), st.integers(1, 300))
def test_it_is_the_snapshot_that_would_be_made_anew(seed: int, steps: int) -> None:
    chance = random.Random(seed)
    kept = KeptSnapshot()
    agents: dict[str, Any] = {}
    sessions: dict[str, Any] = {}
    held: dict[str, Any] = {}
    limits: dict[tuple[str, str], Any] = {}
    for number in range(steps):
        name = f"s{chance.randint(0, 20)}"
        match chance.randint(0, 6):
            case 0 | 1:
                sessions[name] = session(chance, number)
                kept.request(name, **sessions[name])
            case 2:
                sessions.pop(name, None)
                kept.withdraw(name)
            case 3:
                node = f"n{chance.randint(0, 3)}"
                agents[node] = agent(chance)
                kept.agent(node, **agents[node])
            case 4:
                node = f"n{chance.randint(0, 3)}"
                agents.pop(node, None)
                kept.remove_agent(node)
            case 5:
                places = tuple(f"n{chance.randint(0, 3)}" for _ in range(chance.randint(0, 2)))
                held[name] = places, amounts(chance), chance.choice((None, 30))
                kept.hold(name, places, slots=held[name][1], user="u")
            case _:
                scope = chance.choice((("k", "cpu"), ("g", "sessions")))
                limits[scope] = {"used": chance.randint(0, 3), "cap": chance.choice((None, 5))}
                kept.limit(*scope, **limits[scope])
        if chance.random() < 0.1:
            kept.build({})
    anew = SnapshotBuilder()
    for node, one in agents.items():
        anew.agent(node, **one)
    for name, one in sessions.items():
        anew.request(name, **one)
    for places, slots, remaining in held.values():
        for place in places:
            if place in agents:
                anew.running(place, slots=slots, user="u", remaining=remaining)
    for scope, one in limits.items():
        anew.limit(*scope, **one)
    made = kept.build({name: one[2] for name, one in held.items() if one[2] is not None})
    assert described(made) == described(anew.build())
    assert len(kept) == len(sessions)
    assert all(name in kept for name in sessions)


def test_a_snapshot_stays_as_it_is_when_more_comes() -> None:
    kept = KeptSnapshot()
    kept.request("a", resource_group="g", slots={"cpu": 1})
    before = kept.build({})
    kept.request("b", resource_group="h", slots={"mem": 1}, user="v")
    kept.withdraw("a")
    assert [one.session_id for one in before.requests] == ["a"]
    assert before.slots == ("cpu",)
    assert [one.session_id for one in kept.build({}).requests] == ["b"]


def test_of_too_many_those_are_taken_that_come_first() -> None:
    kept = KeptSnapshot()
    for name, priority in (("c", 0), ("a", 0), ("d", 1), ("b", 0)):
        kept.request(name, resource_group="g", slots={"cpu": 1}, priority=priority)
    assert [one.session_id for one in kept.build({}, most=2).requests] == ["d", "a"]
    assert len(kept.build({}, most=4).requests) == 4


@pytest.mark.parametrize("wrong", [{"slots": {"cpu": -1}}, {"slots": {"cpu": 1}, "kernels": 0}])
def test_what_cannot_be_is_refused_when_it_comes(wrong: dict[str, Any]) -> None:
    kept = KeptSnapshot()
    with pytest.raises(ValueError, match=r"negative|no kernel"):
        kept.request("a", resource_group="g", **wrong)
    assert not kept.build({}).requests
