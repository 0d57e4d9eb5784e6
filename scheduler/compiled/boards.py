"""What single devices of agents have free, and what a mix of requests would lose of it. See `scheduler.fragmentation`."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from scheduler import devices
from scheduler.compiled.jit import NOTHING, Ints, compiled
from scheduler.fragmentation import STEP, UNIT, Kind, capacity_of
from scheduler.snapshot import AgentView

allot: Any = compiled(devices.allot)
columns: Any = compiled(devices.columns)

#: What stands behind the row of an agent that does not tell of its devices.
_UNTOLD: Final = 2**60


class Mix(NamedTuple):
    """Kinds of request; none where the placer does not ask for the gradient."""

    #: Columns × kinds: what must be free.
    needs: Ints
    #: Kind → what a device must have free to be of use.
    least: Ints
    #: Segments × kinds: how often the mix has it, 0 where it may not run; and of all kinds, those without a device too.
    weight: Ints
    total: int
    #: Growth of the loss by which ranks differ; the least growth there can be; how many ranks of fullness there are.
    step: int
    offset: int
    span: int
    #: Room for one evaluation: kinds, columns, devices.
    usable: Ints
    row: Ints
    left: Ints


class Boards(NamedTuple):
    """The devices of all agents."""

    #: Agents × devices: what each has free.
    on: Ints
    #: Agent → how many devices it tells of.
    devices: Ints
    #: The column of their slot; -1: no agent tells of any, and there are no columns behind rows.
    column: int
    #: Kernels of the largest gang × devices: what an agent had before it took one.
    before: Ints
    mix: Mix


@compiled
def loss(mix: Mix, segment: int, row: Ints, on: Ints) -> int:
    """Expected loss in milli-devices, times the weight of the mix."""
    usable = mix.usable
    usable[:] = 0
    total = 0
    for free in on:
        total += free
        for kind in range(usable.size):
            usable[kind] += free if free >= mix.least[kind] else 0
    for slot in range(row.size):
        have = row[slot]
        needs = mix.needs[slot]
        for kind in range(usable.size):
            usable[kind] = 0 if needs[kind] > have else usable[kind]
    weight = mix.weight[segment]
    kept = 0
    for kind in range(usable.size):
        kept += usable[kind] * weight[kind]
    return total * mix.total - kept


@compiled
def growth(boards: Boards, segment: int, agent: int, free: Ints, takes: Ints, before: int) -> int:
    """How much the loss on an agent grows by a kernel, in steps."""
    mix, count = boards.mix, boards.devices[agent]
    if before == 0 and not boards.on[agent, :count].any():
        return 0
    for slot in range(free.size):
        mix.row[slot] = free[slot] - takes[slot]
    for device in range(count):
        mix.left[device] = boards.on[agent, device]
    left = mix.left[:count]
    allot(left, takes[boards.column])
    mix.row[-3], mix.row[-2], mix.row[-1] = columns(left)
    return (loss(mix, segment, mix.row, left) - before + mix.step // 2) // mix.step


def boards_of(
    agents: Sequence[AgentView],
    column: int,
    kernels: int,
    mix: Sequence[Kind],
    architectures: Sequence[str],
    fullness: int,
) -> Boards:
    """
    Args:
        column: of the slot that devices give, -1 where no agent tells of any.
        kernels: of the largest gang.
        mix: empty where the gradient is not asked for.
        fullness: how many ranks there are without it.
    """
    told = [agent.devices or () for agent in agents] if column >= 0 else []
    most = max(map(len, told), default=0)
    on = np.zeros((len(agents), most), np.int64)
    count = np.zeros(len(agents), np.int64)
    for place, free in enumerate(told):
        on[place, : len(free)] = free
        count[place] = len(free)
    # What uses no device keeps none of it from being lost.
    kinds = [kind for kind in mix if kind.needs[column]] if most else []
    needs = [with_needs(kind.needs, column) for kind in kinds]
    width = len(needs[0]) if needs else 0
    total = sum(kind.weight for kind in mix) * UNIT or 1
    capacity = capacity_of(agents, column)
    weight = np.array(
        [[kind.presses(one, capacity) for kind in kinds] for one in architectures], np.int64
    ).reshape(len(architectures), len(kinds))
    # What is lost and what is kept change by no more than all of it, as often as it is asked for.
    most_pressed = max(total, int(weight.sum(axis=1).max(initial=0)))
    bound = most * devices.WHOLE * most_pressed // (STEP * total) + 2
    return Boards(
        on=on,
        devices=count,
        column=column,
        before=np.zeros((kernels if most else 0, most), np.int64),
        mix=Mix(
            needs=np.where(
                np.array(needs, np.int64).reshape(len(kinds), width) > 0,
                needs or np.empty((0, width)),
                NOTHING,
            )
            .astype(np.int64)
            .T.copy(),
            least=np.array([min(kind.needs[column], devices.WHOLE) for kind in kinds], np.int64),
            weight=weight,
            total=total,
            step=STEP * total,
            offset=-bound,
            span=fullness,
            usable=np.empty(len(kinds), np.int64),
            row=np.empty(width, np.int64),
            left=np.empty(most, np.int64),
        ),
    )


def with_needs(row: tuple[int, ...], column: int) -> tuple[int, ...]:
    """Needs, in all columns."""
    return row if column < 0 else (*row, *devices.needs(row[column]))


def with_devices(rows: Ints, column: int, devices_of: Iterable[Sequence[int]]) -> Ints:
    """Rows of agents, with the columns behind them."""
    if column < 0:
        return rows
    behind = [devices.columns(on) if on else (_UNTOLD,) * devices.COLUMNS for on in devices_of]
    return np.hstack((rows, np.array(behind, np.int64).reshape(len(rows), devices.COLUMNS)))
