"""Test objects: say only what matters, the rest is plain. Amounts in small round numbers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import pytest

from scheduler import fast
from scheduler.engine import Scheduler
from scheduler.fast import Fast
from scheduler.placers import Pack, PackOptions
from scheduler.protocols import Cycle, PluginOptions, Rank
from scheduler.sequencers import Fifo, FifoOptions
from scheduler.snapshot import Request, Shape, Snapshot, SnapshotBuilder

GROUP = "rgp_main"

Engine = Fast | None

#: Plain Python, and machine code: the tests need the extra `fast`.
ENGINES = [pytest.param(None, id="plain"), pytest.param(fast.load(), id="compiled")]
assert ENGINES[1].values != (None,), "the compiled engine cannot be loaded: both would be plain Python"


class NoOptions(PluginOptions, frozen=True, kw_only=True):
    pass


def builtin() -> Scheduler:
    return Scheduler(Fifo(FifoOptions()), Pack(PackOptions()))


def everywhere(scheduler: Scheduler, snapshot: Snapshot) -> dict[str, Scheduler]:
    return {request.resource_group: scheduler for request in snapshot.requests}


class Cluster:
    """Collects agents, sessions and limits; ids come from the order unless given."""

    def __init__(self, device_slot: str = "") -> None:
        self._builder = SnapshotBuilder(device_slot)
        self._agents = 0
        self._sessions = 0

    def agent(
        self,
        name: str | None = None,
        *,
        used: Mapping[str, int] | None = None,
        group: str = GROUP,
        architecture: str = "x86_64",
        schedulable: bool = True,
        images: Iterable[str] = (),
        devices: Iterable[int] | None = None,
        **capacity: int,
    ) -> "Cluster":
        self._agents += 1
        self._builder.agent(
            name or f"agt_{self._agents}",
            resource_group=group,
            architecture=architecture,
            capacity=capacity or {"cpu": 8, "mem": 64},
            used=used or {},
            schedulable=schedulable,
            images=images,
            devices=devices,
        )
        return self

    def session(
        self,
        name: str | None = None,
        *,
        group: str = GROUP,
        kernels: int = 1,
        architectures: Iterable[str] = (),
        image: str = "",
        designated: Iterable[str] | None = None,
        scopes: Sequence[str] = (),
        queued: int | None = None,
        priority: int = 0,
        user: str = "",
        project: str = "",
        max_duration: int | None = None,
        **slots: int,
    ) -> "Cluster":
        self._sessions += 1
        self._builder.request(
            name or f"ses_{self._sessions}",
            resource_group=group,
            slots=slots or {"cpu": 1, "mem": 1},
            kernels=kernels,
            architectures=architectures,
            image_id=image,
            designated=designated,
            scopes=scopes,
            queued=self._sessions if queued is None else queued,
            priority=priority,
            user=user,
            group=project,
            max_duration=max_duration,
        )
        return self

    def running(
        self,
        agent: str,
        *,
        user: str = "",
        project: str = "",
        remaining: int | None = None,
        **slots: int,
    ) -> "Cluster":
        self._builder.running(agent, slots=slots, user=user, group=project, remaining=remaining)
        return self

    def limit(self, scope: str, slot: str, cap: int | None, used: int = 0) -> "Cluster":
        self._builder.limit(scope, slot, used=used, cap=cap)
        return self

    def build(self) -> Snapshot:
        return self._builder.build()


class FussyRanking:
    """Ranks that jump up and down as an agent fills, another way for each shape, with many ties."""

    prefer_cached_images = True

    def of(self, shape: Shape) -> Rank:
        turn = sum(shape.needs)

        def rank(agent: int, free: Sequence[int]) -> int:
            return (sum(free) * 7 + agent * 3 + turn) % 5 - 2

        return rank


class FussyPlacer:
    Options = NoOptions

    def __init__(self, options: NoOptions = NoOptions(), /) -> None:  # noqa: B008  # immutable
        self.options = options

    def prepare(self, cycle: Cycle) -> FussyRanking:
        return FussyRanking()


class EvenSequencer:
    """Each time the waiting session whose first scope has the fewest sessions placed: it needs to see progress."""

    Options = NoOptions

    def __init__(self, options: NoOptions = NoOptions(), /) -> None:  # noqa: B008  # immutable
        self.options = options

    def order(self, cycle: Cycle) -> Iterator[Request]:
        waiting = sorted(cycle.requests, key=lambda request: request.session_id)
        placed: dict[str, int] = {}
        while waiting:
            request = min(waiting, key=lambda one: (placed.get(_owner(one), 0), one.session_id))
            waiting.remove(request)
            yield request
            if cycle.placed(request.session_id):
                placed[_owner(request)] = placed.get(_owner(request), 0) + 1


def _owner(request: Request) -> str:
    return request.scopes[0] if request.scopes else ""


def described(snapshot: Snapshot) -> list[object]:
    """What it says, however slots are numbered."""

    def row(values: Iterable[int]) -> dict[str, int]:
        return {slot: value for slot, value in zip(snapshot.slots, values, strict=True) if value}

    def told(one: Any, *rows: str) -> str:
        fields = {name: getattr(one, name) for name in one.__struct_fields__}
        return repr(sorted({**fields, **{name: row(fields[name]) for name in rows}}.items()))

    requests = [
        repr(sorted(row(r.shape.needs).items()))
        + repr((r.shape.architectures, r.shape.designated))
        + told(msgspec.structs.replace(r, shape=msgspec.structs.replace(r.shape, needs=())))
        for r in snapshot.requests
    ]
    return [
        sorted(requests),
        sorted(told(one, "capacity", "free") for one in snapshot.agents),
        sorted(told(one, "held") for one in snapshot.running),
        sorted(map(repr, snapshot.limits)),
        sorted(snapshot.queue.resource_groups.present()),
    ]
