"""What a watcher that comes back is told of what it missed."""

import pytest

from services import timelines
from services.core import Core
from services.db.tables import AgentEvent
from services.errors import BadInput
from services.timelines import Timeline, position
from tests.factories import Factories

TIMELINE = Timeline(AgentEvent, AgentEvent.agent_id)


async def test_of_each_thing_that_changed_the_newest_event_is_told(core: Core, make: Factories) -> None:
    assert await TIMELINE.newest(core) == 0
    here, there = await make.agent(), await make.agent()
    before = await make.agent_event(agent=here)
    other = await make.agent_event(agent=there)
    last = await make.agent_event(agent=here)
    assert await TIMELINE.newest(core) == last.id
    missed = await TIMELINE.missed(core, before.id)
    assert missed == {here.id: last.id, there.id: other.id}
    assert (await TIMELINE.events(core, [0, *missed.values()])).keys() == {last.id, other.id}


async def test_an_event_that_was_committed_late_under_a_lower_number_is_told(
    core: Core, make: Factories
) -> None:
    late = await make.agent_event()
    await make.agent_event()
    assert late.agent_id in (await TIMELINE.missed(core, await TIMELINE.newest(core)) or {})


async def test_what_lies_further_back_than_a_commit_can_be_late_is_not_told_again(
    core: Core, make: Factories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timelines, "_OVERLAP", 1)
    await make.agent_event()
    newest = await make.agent_event()
    assert await TIMELINE.missed(core, newest.id) == {newest.agent_id: newest.id}


async def test_too_much_is_not_told_one_by_one(
    core: Core, make: Factories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timelines, "_REPLAY_LIMIT", 2)
    for _ in range(2):
        await make.agent_event()
    assert len(await TIMELINE.missed(core, 0) or {}) == 2
    await make.agent_event()
    assert await TIMELINE.missed(core, 0) is None


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1.5", "٣", "9" * 19])
def test_a_cursor_of_another_stream_is_refused(cursor: str) -> None:
    with pytest.raises(BadInput) as refused:
        position(cursor)
    assert refused.value.path == "after"
