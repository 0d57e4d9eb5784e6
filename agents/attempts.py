"""The attempts to run kernels on this node, as the state machine keeps them; and how long each step may take."""

import itertools
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from agents.accelerators.contract import Amounts
from agents.accelerators.pools import SOMEWHERE, Pool
from agents.protocol import KernelPhase, KernelSpec, Phase
from agents.steps import Ref

#: Seconds beyond its grace after which a stop is taken as hung, and is tried again without any.
STOP_SECONDS = 30.0
#: Seconds to collect a log; a kernel's end does not wait longer for it.
COLLECT_SECONDS = 30.0
REMOVE_SECONDS = 60.0
#: Seconds that a half-made kernel found after a restart waits for its command.
HALF_SECONDS = 120.0
#: Seconds until a runtime that failed is asked again: doubled each time up to the second number.
RETRY_SECONDS = (1.0, 30.0)
#: Seconds that a create or start under way may go on once the kernel is to be killed at once.
HURRY_SECONDS = 10.0


#: Ended kernels remembered, so that a command that comes late starts nothing again.
ENDED_KEPT = 10_000
FINAL = ("TERMINATED", "ERROR")
#: The phases of one attempt are told in this order and never backwards.
ORDER: tuple[Phase, ...] = (
    "PULLING",
    "PREPARED",
    "CREATING",
    "RUNNING",
    "TERMINATING",
    "ERROR",
    "TERMINATED",
)


class Step(StrEnum):
    """What the runtime does for an attempt right now."""

    WAIT = "WAIT"
    HALF = "HALF"
    PULL = "PULL"
    CREATE = "CREATE"
    START = "START"
    WATCH = "WATCH"
    STOP = "STOP"
    COLLECT = "COLLECT"
    REMOVE = "REMOVE"


@dataclass(frozen=True)
class Outcome:
    phase: Phase
    code: str
    message: str
    exit_code: int | None = None


@dataclass
class Attempt:
    """One generation of a kernel on this node."""

    ref: Ref
    session: str
    step: Step
    spec: KernelSpec | None = None
    slots: Mapping[str, int] = field(default_factory=dict[str, int])
    #: Slot name → device → amount: what it may be using of the node's accelerators.
    devices: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    #: What the manager was told last; "" before anything was.
    told: Phase | None = None
    container: str = ""
    outcome: Outcome | None = None
    #: When the step has failed, in the clock of `handle`'s `now`.
    deadline: float | None = None
    grace: float = 0.0
    failures: int = 0
    #: True while the step waits for its next try instead of for the runtime.
    pausing: bool = False

    @property
    def over(self) -> bool:
        """Nothing of it lives any more, and the manager was told."""
        return self.step is Step.REMOVE


class Attempts:
    """All attempts of the node, the slots they take, and what was told of kernels before.

    Args:
        capacity: of the runtime; what accelerators give comes from `pool`.
        past: the last phase of each kernel that was told before the agent's start, oldest first.
    """

    def __init__(
        self, capacity: Mapping[str, int], past: Iterable[KernelPhase] = (), pool: Pool | None = None
    ) -> None:
        self.capacity = dict(capacity)
        self.pool = pool or Pool()
        self._attempts: dict[Ref, Attempt] = {}
        self._ended: OrderedDict[str, KernelPhase] = OrderedDict()
        self._unfinished: dict[str, KernelPhase] = {}
        for body in past:
            if body.phase in FINAL:
                self._ended[body.kernel] = body
            else:
                self._unfinished[body.kernel] = body

    def __iter__(self) -> Iterator[Attempt]:
        return iter(tuple(self._attempts.values()))

    def __contains__(self, ref: Ref) -> bool:
        return ref in self._attempts

    def get(self, ref: Ref) -> Attempt | None:
        return self._attempts.get(ref)

    def add(self, attempt: Attempt) -> None:
        self._attempts[attempt.ref] = attempt

    def drop(self, attempt: Attempt) -> None:
        del self._attempts[attempt.ref]

    def of(self, kernel: str) -> list[Attempt]:
        """The kernel's attempts, oldest generation first."""
        return sorted((a for a in self if a.ref[0] == kernel), key=lambda attempt: attempt.ref[1])

    def older(self, attempt: Attempt) -> list[Attempt]:
        return [other for other in self.of(attempt.ref[0]) if other.ref[1] < attempt.ref[1]]

    def living_before(self, attempt: Attempt) -> bool:
        """Whether a process of an older generation may live."""
        return any(not older.over for older in self.older(attempt))

    def newest(self, kernel: str) -> int:
        """The newest generation ever heard of; 0: none."""
        bodies = (self._ended.get(kernel), self._unfinished.get(kernel))
        past = [body.generation for body in bodies if body]
        return max([attempt.ref[1] for attempt in self.of(kernel)] + past, default=0)

    def told_before(self, ref: Ref) -> KernelPhase | None:
        """What was told of an attempt before the agent's start, if it had not ended then."""
        body = self._unfinished.get(ref[0])
        return body if body and body.generation == ref[1] else None

    def ended(self, kernel: str) -> KernelPhase | None:
        """The final event of the newest generation that has ended."""
        return self._ended.get(kernel)

    def remember(self, body: KernelPhase) -> None:
        newest = self._ended.get(body.kernel)
        if newest is None or newest.generation <= body.generation:
            self._ended[body.kernel] = body
            self._ended.move_to_end(body.kernel)
            while len(self._ended) > ENDED_KEPT:
                self._ended.popitem(last=False)

    def used(self, *, without: str = "") -> dict[str, int]:
        """Slots that are taken. Generations of one kernel never live together: the larger counts."""
        kernels: dict[str, dict[str, int]] = {}
        for attempt in self:
            if attempt.over or attempt.ref[0] == without:
                continue
            taken = kernels.setdefault(attempt.ref[0], {})
            for name, amount in attempt.slots.items():
                taken[name] = max(taken.get(name, 0), amount)
        total: dict[str, int] = {}
        for name, amount in itertools.chain.from_iterable(taken.items() for taken in kernels.values()):
            total[name] = total.get(name, 0) + amount
        return total

    def held(self, *, without: str = "") -> dict[str, dict[str, int]]:
        """Device → slot → what is taken of it. As for `used`: of a kernel's generations the larger counts.

        What a kernel has of an accelerator's slot and of which no device is known is counted under `SOMEWHERE`.
        """
        kernels: dict[str, dict[tuple[str, str], int]] = {}
        for attempt in self:
            if attempt.over or attempt.ref[0] == without:
                continue
            taken = kernels.setdefault(attempt.ref[0], {})
            for slot, name, amount in _located(attempt, self.pool):
                taken[name, slot] = max(taken.get((name, slot), 0), amount)
        total: dict[str, dict[str, int]] = {}
        for taken in kernels.values():
            for (name, slot), amount in taken.items():
                of_device = total.setdefault(name, {})
                of_device[slot] = of_device.get(slot, 0) + amount
        return total

    def all_slots(self, held: Amounts | None = None) -> dict[str, int]:
        """The node's capacity: what the runtime has, and what accelerators give. `held`: where it is known already."""
        return {**self.pool.capacity(self.held() if held is None else held), **self.capacity}

    def lacking(self, kernel: str, slots: Mapping[str, int]) -> str:
        """Why these slots do not fit; "" when they do. The manager's books may be behind ours (invariant I2)."""
        used = self.used(without=kernel)
        for name, amount in slots.items():
            if name in self.pool.kinds and name not in self.capacity:
                continue  # each device counts, not their sum: `place`
            free = max(self.capacity.get(name, 0) - used.get(name, 0), 0)
            if amount > free:
                return f"{name}: {amount} asked for, {free} free of {self.capacity.get(name, 0)}"
        return ""

    def place(self, kernel: str, spec: KernelSpec) -> dict[str, dict[str, int]]:
        """The devices for a kernel: those that its spec names, else those that suit best. Raises `NoRoom`."""
        held = self.held(without=kernel)
        return self.pool.place(spec.slots, held, named=spec.devices, spanning=spec.spanning)


def _located(attempt: Attempt, pool: Pool) -> Iterator[tuple[str, str, int]]:
    """(slot, device, amount) of all that an attempt has of accelerators."""
    for slot, devices in attempt.devices.items():
        for name, amount in devices.items():
            yield slot, name, amount
    for slot, amount in attempt.slots.items():
        rest = amount - sum(attempt.devices.get(slot, {}).values())
        if slot in pool.kinds and rest > 0:
            yield slot, SOMEWHERE, rest
