"""Whatever happens in whatever order: the promises of the node's state machine hold.

A model of an engine does what the instructions say, fails, hangs, and carries out a start that was given up; the agent
is restarted at any moment; commands come late, twice and for any generation.
"""

from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agents.protocol import (
    CreateKernel,
    DestroyKernel,
    KernelPhase,
    KernelRef,
    KernelReport,
    KernelSpec,
    Phase,
    Welcome,
)
from agents.runtimes.contract import Exit
from agents.state import State
from agents.steps import (
    Answer,
    Cancel,
    CollectLog,
    Connected,
    Create,
    Created,
    CreateFailed,
    Emit,
    Exited,
    Instruction,
    LogCollected,
    LogFailed,
    Pull,
    PullDone,
    PullFailed,
    Recovered,
    Ref,
    Remove,
    Removed,
    RemoveFailed,
    Start,
    Started,
    StartFailed,
    StateEvent,
    Stop,
    StopFailed,
    Stopped,
    Tick,
    Watch,
    WatchFailed,
    Work,
)

CAPACITY = {"cpu": 3}
RANK: dict[Phase, int] = {
    "PULLING": 0,
    "PREPARED": 1,
    "CREATING": 2,
    "RUNNING": 3,
    "TERMINATING": 4,
    "ERROR": 5,
    "TERMINATED": 6,
}
KERNELS = st.sampled_from(["a", "b", "c"])
GENERATIONS = st.integers(1, 3)


@dataclass
class Container:
    slots: dict[str, int]
    status: Literal["made", "live", "dead"] = "made"


class Node(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.state = State(CAPACITY)
        self.containers: dict[Ref, Container] = {}
        self.work: dict[Ref, Work] = {}
        self.watches: set[Ref] = set()
        self.told: dict[Ref, Phase] = {}
        self.journal: dict[str, KernelPhase] = {}
        self.accepted: dict[Ref, CreateKernel] = {}

    # The world

    def tell(self, event: StateEvent) -> None:
        for instruction in self.state.handle(event, self.now):
            self.obey(instruction)

    def obey(self, instruction: Instruction) -> None:
        match instruction:
            case Emit(body=KernelPhase() as body):
                self.hear(body)
            case Cancel(ref=ref):
                self.give_up(ref)
            case Watch(ref=ref):
                self.watches.add(ref)
            case Create(ref=ref):
                assert not self.live(ref[0]), "a container is made while another of the kernel lives"
                self.work[ref] = instruction
            case Pull(ref=ref) | Start(ref=ref) | Stop(ref=ref) | CollectLog(ref=ref) | Remove(ref=ref):
                self.give_up(ref, watch=isinstance(instruction, CollectLog | Remove))
                self.work[ref] = instruction
            case _:
                assert isinstance(instruction, Answer | Emit)

    def hear(self, body: KernelPhase) -> None:
        ref = (body.kernel, body.generation)
        before = self.told.get(ref)
        assert before is None or RANK[before] <= RANK[body.phase], f"{ref}: {before} → {body.phase}"
        self.told[ref] = body.phase
        if body.kernel not in self.journal or self.journal[body.kernel].generation <= body.generation:
            self.journal[body.kernel] = body
        if body.phase in ("ERROR", "TERMINATED"):
            container = self.containers.get(ref)
            assert container is None or container.status != "live", "an end was told of what lives"

    def give_up(self, ref: Ref, *, watch: bool = True) -> None:
        """Cancel; an engine may carry out a start all the same, before it takes the next call."""
        work = self.work.pop(ref, None)
        if watch:
            self.watches.discard(ref)
        if isinstance(work, Start) and ref in self.containers:
            self.containers[ref].status = "live"

    def live(self, kernel: str) -> list[Ref]:
        return [ref for ref, c in self.containers.items() if ref[0] == kernel and c.status == "live"]

    def finish(self, ref: Ref) -> None:
        work = self.work.pop(ref)
        match work:
            case Pull():
                self.tell(PullDone(ref))
            case Create(spec=spec):
                for old in [old for old in self.containers if old[0] == ref[0]]:
                    del self.containers[old]
                self.containers[ref] = Container(spec.slots)
                self.tell(Created(ref, "id"))
            case Start():
                self.containers[ref].status = "live"
                self.tell(Started(ref))
            case Stop():
                if ref in self.containers:
                    self.containers[ref].status = "dead"
                self.tell(Stopped(ref))
            case CollectLog():
                self.tell(LogCollected(ref, b"", 0))
            case Remove():
                self.containers.pop(ref, None)
                self.tell(Removed(ref))
            case Watch():
                raise AssertionError

    # What may happen

    @rule(kernel=KERNELS, generation=GENERATIONS, cpu=st.integers(0, 3))
    def create(self, kernel: str, generation: int, cpu: int) -> None:
        ref = (kernel, generation)
        command = self.accepted.get(ref) or CreateKernel(
            1,
            kernel,
            generation,
            KernelSpec("s", "s", "i", "x", {"cpu": cpu}, pull_timeout=50, create_timeout=20),
        )
        instructions = self.state.handle(command, self.now)
        for instruction in instructions:
            if isinstance(instruction, Answer) and not instruction.error:
                self.accepted[ref] = command
        for instruction in instructions:
            self.obey(instruction)

    @rule(kernel=KERNELS, generation=GENERATIONS, grace=st.sampled_from([0.0, 5.0]))
    def destroy(self, kernel: str, generation: int, grace: float) -> None:
        self.tell(DestroyKernel(1, kernel, generation, grace))

    @precondition(lambda self: self.work)
    @rule(data=st.data())
    def work_is_done(self, data: st.DataObject) -> None:
        self.finish(data.draw(st.sampled_from(sorted(self.work))))

    @precondition(lambda self: self.work)
    @rule(data=st.data())
    def work_fails(self, data: st.DataObject) -> None:
        ref = data.draw(st.sampled_from(sorted(self.work)))
        match self.work.pop(ref):
            case Pull():
                self.tell(PullFailed(ref, "PULL_FAILED", ""))
            case Create():
                self.tell(CreateFailed(ref, "CREATE_FAILED", ""))
            case Start():
                # The worst of failures: it says no, and lives.
                self.containers[ref].status = "live"
                self.tell(StartFailed(ref, "START_FAILED", ""))
            case Stop():
                self.tell(StopFailed(ref, ""))
            case CollectLog():
                self.tell(LogFailed(ref))
            case _:
                self.tell(RemoveFailed(ref, ""))

    @precondition(lambda self: self.watches)
    @rule(data=st.data(), exits=st.booleans())
    def watch_ends(self, data: st.DataObject, exits: bool) -> None:
        ref = data.draw(st.sampled_from(sorted(self.watches)))
        self.watches.discard(ref)
        if exits:
            if ref in self.containers:
                self.containers[ref].status = "dead"
            self.tell(Exited(ref, Exit(0, "EXITED", "")))
        else:
            self.tell(WatchFailed(ref))

    @rule(seconds=st.sampled_from([1, 10, 60, 200]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        self.tell(Tick())

    @rule()
    def agent_restarts(self) -> None:
        for ref in list(self.work):
            self.give_up(ref)
        self.watches.clear()
        self.state = State(CAPACITY, self.journal.values())
        self.recover()

    @rule()
    def reconnects(self) -> None:
        self.recover()

    @rule(kernel=KERNELS, generation=GENERATIONS)
    def manager_gives_up(self, kernel: str, generation: int) -> None:
        self.tell(Connected(Welcome(1, 0, 1, 1, 1, remove=(KernelRef(kernel, generation),))))

    def recover(self) -> None:
        phases: dict[str, Phase] = {"made": "CREATING", "live": "RUNNING", "dead": "TERMINATED"}
        reports = [
            KernelReport(*ref, "s", phases[container.status], slots=container.slots)
            for ref, container in self.containers.items()
        ]
        self.tell(Recovered(tuple(reports)))

    # What always holds

    @invariant()
    def at_most_one_container_of_a_kernel_lives(self) -> None:
        for kernel in ("a", "b", "c"):
            assert len(self.live(kernel)) <= 1

    @invariant()
    def capacity_is_never_exceeded(self) -> None:
        assert self.state.attempts.used().get("cpu", 0) <= CAPACITY["cpu"]
        living = sum(c.slots.get("cpu", 0) for c in self.containers.values() if c.status == "live")
        assert living <= CAPACITY["cpu"]

    @invariant()
    def what_has_a_deadline_is_looked_at(self) -> None:
        for attempt in self.state.attempts:
            waits_for_older = self.state.attempts.living_before(attempt)
            busy = attempt.ref in self.work or attempt.ref in self.watches
            assert busy or attempt.deadline is not None or waits_for_older, f"{attempt} is stuck"

    def teardown(self) -> None:
        """Given time and a working engine, every accepted command comes to something."""
        for turn in range(100):
            for ref in list(self.work):
                if ref in self.work:
                    self.finish(ref)
            self.now += 40
            self.tell(Tick())
            for ref, command in self.accepted.items() if turn > 50 else ():
                # The manager's sweep: what has not come to anything is sent again.
                if self.told.get(ref) not in ("RUNNING", "ERROR", "TERMINATED"):
                    for instruction in self.state.handle(command, self.now):
                        if isinstance(instruction, Answer) and instruction.error == "NO_CAPACITY":
                            # Forgotten in a restart, and its place was given to another.
                            self.told[ref] = "ERROR"
                        self.obey(instruction)
        newest: dict[str, int] = {}
        for kernel, generation in (*self.accepted, *self.told):
            newest[kernel] = max(newest.get(kernel, 0), generation)
        for ref in self.accepted:
            if ref[1] == newest[ref[0]]:
                assert self.told.get(ref) in ("RUNNING", "ERROR", "TERMINATED"), ref


Node.TestCase.settings = settings(
    max_examples=400, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
TestNode = pytest.mark.timeout(300)(Node.TestCase)
