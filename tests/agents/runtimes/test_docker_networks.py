"""Bridges of sessions against a real engine."""

import asyncio
import secrets
from collections.abc import AsyncGenerator
from ipaddress import IPv4Network
from typing import Any

import pytest

from agents.runtimes.contract import RuntimeFailure
from agents.runtimes.docker_networks import DEFAULT_RANGE, SPARE, Networks
from agents.runtimes.engine import Engine, candidates

pytestmark = pytest.mark.engine


@pytest.fixture
async def engine() -> AsyncGenerator[Engine]:
    engine = Engine(candidates()[0])
    yield engine
    await engine.close()


@pytest.fixture
def labels() -> dict[str, str]:
    return {"berth.state": f"test-{secrets.token_hex(4)}"}


@pytest.fixture
async def networks(engine: Engine, labels: dict[str, str]) -> AsyncGenerator[Networks]:
    networks = Networks(engine, labels)
    await networks.recover([])
    yield networks
    for session, kernel in (("ses_1", "knl_1"), ("ses_1", "knl_2"), ("ses_2", "knl_3")):
        await networks.leave(session, kernel)
    await networks.close()
    assert await there(engine, labels) == {}


async def there(engine: Engine, labels: dict[str, str]) -> dict[str, str]:
    """The engine's networks with these labels, and their subnets."""
    api: Any = engine.docker.networks
    found = await api.list(filters={"label": [f"{name}={value}" for name, value in labels.items()]})
    return {one["Name"]: one["IPAM"]["Config"][0]["Subnet"] for one in found}


async def full(engine: Engine, labels: dict[str, str], used: int = 0) -> dict[str, str]:
    async with asyncio.timeout(20):
        while len(found := await there(engine, labels)) < SPARE + used:
            await asyncio.sleep(0.02)
    return found


async def test_sessions_get_ready_ones_of_their_own_and_kernels_of_one_session_share(
    networks: Networks, engine: Engine, labels: dict[str, str]
) -> None:
    ready = await full(engine, labels)
    first = await networks.join("ses_1", "knl_1")
    assert first in ready
    assert await networks.join("ses_1", "knl_2") == first
    other = await networks.join("ses_2", "knl_3")
    assert other != first
    subnets = list((await there(engine, labels)).values())
    assert len(set(subnets)) == len(subnets)


async def test_one_is_left_only_with_its_sessions_last_kernel(networks: Networks) -> None:
    name = await networks.join("ses_1", "knl_1")
    await networks.join("ses_1", "knl_2")
    await networks.leave("ses_1", "knl_1")
    assert await networks.join("ses_1", "knl_1") == name
    await networks.leave("ses_1", "knl_1")
    await networks.leave("ses_1", "knl_2")
    assert {await networks.join(f"ses_{n}", f"knl_{n}") for n in range(10, 10 + SPARE + 1)} >= {name}
    for n in range(10, 10 + SPARE + 1):
        await networks.leave(f"ses_{n}", f"knl_{n}")


async def test_a_ready_one_that_was_pruned_is_not_given_out(
    networks: Networks, engine: Engine, labels: dict[str, str]
) -> None:
    api: Any = engine.docker.networks
    for name in await full(engine, labels):
        await (await api.get(name)).delete()
    assert await networks.join("ses_1", "knl_1") in await there(engine, labels)


async def test_a_restarted_agent_leaves_the_used_one_alone_and_takes_over_the_others(
    networks: Networks, engine: Engine, labels: dict[str, str]
) -> None:
    used = await networks.join("ses_1", "knl_1")
    await full(engine, labels, used=1)
    again = Networks(engine, labels)
    await again.recover([("ses_1", "knl_1", used)])
    assert await again.join("ses_1", "knl_2") == used
    assert await again.join("ses_2", "knl_3") != used
    await again.leave("ses_2", "knl_3")
    await again.close()
    assert list(await there(engine, labels)) == [used]


async def test_subnets_are_small_and_of_the_range_so_that_there_is_room_for_a_thousand(
    networks: Networks, engine: Engine, labels: dict[str, str]
) -> None:
    subnets = [IPv4Network(subnet) for subnet in (await full(engine, labels)).values()]
    assert all(subnet.subnet_of(IPv4Network(DEFAULT_RANGE)) for subnet in subnets)
    assert {subnet.prefixlen for subnet in subnets} == {26}


async def test_a_range_that_is_used_up_is_said(engine: Engine, labels: dict[str, str]) -> None:
    small = Networks(engine, labels, f"10.214.{secrets.randbelow(256) & 254}.0/25")
    for n in range(2):
        await small.join(f"ses_{n}", f"knl_{n}")
    with pytest.raises(RuntimeFailure) as failed:
        await small.join("ses_2", "knl_2")
    assert failed.value.code == "CREATE_FAILED"
    for n in range(2):
        await small.leave(f"ses_{n}", f"knl_{n}")
    await small.close()
