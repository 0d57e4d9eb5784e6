"""Snapshots refuse what would oversell, and builders make them from rows."""

from collections.abc import Callable

import pytest

from scheduler.queues import Queue
from scheduler.snapshot import AgentView, Limit, Request, Shape, Snapshot, SnapshotBuilder


def _agent(name: str = "agt_1", capacity: tuple[int, ...] = (8,), free: tuple[int, ...] = (8,)) -> AgentView:
    return AgentView(id=name, resource_group="rgp", architecture="x86_64", capacity=capacity, free=free)


def _request(name: str = "ses_1", needs: tuple[int, ...] = (1,), kernels: int = 1) -> Request:
    return Request(session_id=name, resource_group="rgp", shape=Shape(needs), kernels=kernels)


BAD: list[tuple[str, Callable[[], Snapshot], str]] = [
    ("a slot twice", lambda: Snapshot(slots=("cpu", "cpu")), "slot 'cpu' is there twice"),
    (
        "an agent twice",
        lambda: Snapshot(slots=("cpu",), agents=(_agent(), _agent())),
        "agent 'agt_1' is there twice",
    ),
    (
        "a session twice",
        lambda: Snapshot(slots=("cpu",), queue=Queue.of((_request(), _request()))),
        "session 'ses_1' is there twice",
    ),
    (
        "a limit twice",
        lambda: Snapshot(
            slots=("cpu",), limits=(Limit(scope="k", slot="cpu"), Limit(scope="k", slot="cpu", cap=1))
        ),
        r"limit .'k', 'cpu'. is there twice",
    ),
    (
        "a row that is too short",
        lambda: Snapshot(slots=("cpu", "mem"), agents=(_agent(),)),
        "agent 'agt_1': its rows must have 2 amounts",
    ),
    (
        "free of another length than capacity",
        lambda: Snapshot(slots=("cpu",), agents=(_agent(free=()),)),
        "agent 'agt_1': its rows must have 1 amounts",
    ),
    (
        "a shape that is too long",
        lambda: Snapshot(slots=("cpu",), queue=Queue.of((_request(needs=(1, 2)),))),
        "a shape must have 1 amounts",
    ),
    (
        "a negative amount",
        lambda: Snapshot(slots=("cpu",), queue=Queue.of((_request(needs=(-1,)),))),
        "none negative",
    ),
    (
        "no kernels",
        lambda: Snapshot(slots=("cpu",), queue=Queue.of((_request(kernels=0),))),
        "session 'ses_1' has no kernel",
    ),
]


@pytest.mark.parametrize(("make", "message"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_snapshot_that_would_oversell_is_refused(make: Callable[[], Snapshot], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_rows_have_the_slots_of_all_agents_and_requests_in_the_order_of_names() -> None:
    builder = SnapshotBuilder()
    builder.agent(
        "a", resource_group="r", architecture="x86_64", capacity={"mem": 64, "cpu": 8}, used={"cpu": 9}
    )
    builder.request("s", resource_group="r", slots={"tpu": 1, "cpu": 2})
    snapshot = builder.build()
    assert snapshot.slots == ("cpu", "mem", "tpu")
    assert snapshot.agents[0].capacity == (8, 64, 0)
    assert snapshot.agents[0].free == (-1, 64, 0)
    assert snapshot.requests[0].shape.needs == (2, 0, 1)


def test_equal_shapes_are_one_object() -> None:
    builder = SnapshotBuilder()
    for name, architecture in (("one", "x86_64"), ("two", "x86_64"), ("three", "aarch64")):
        builder.request(name, resource_group="r", slots={"cpu": 2}, architectures=[architecture])
    one, two, three = builder.build().requests
    assert one.shape is two.shape
    assert one.shape != three.shape


def test_a_string_where_several_belong_is_refused() -> None:
    with pytest.raises(TypeError, match="collections of strings"):
        SnapshotBuilder().request("s", resource_group="r", slots={"cpu": 1}, scopes="key_1")


def test_a_snapshot_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        _agent().free = (0,)  # type: ignore[misc]
