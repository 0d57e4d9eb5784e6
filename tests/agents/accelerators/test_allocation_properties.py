"""Whatever happens in whatever order, a device is never given twice, and a restarted agent has the same map.

The world is that of the state machine's own properties: an engine that fails, hangs and carries out what was given up,
an agent that is killed at any moment, commands that come late and twice. Here kernels ask for shares of devices, and
devices fail, vanish and come back while they are held. What the engine has on it (labels) is all that a restart leaves.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from agents.accelerators.pools import Pool
from agents.protocol import CreateKernel, Device, KernelReport, KernelSpec, Phase, SlotKind
from agents.state import State
from agents.steps import Answer, Create, Created, Recovered, Ref
from tests.agents.test_state_properties import CAPACITY, GENERATIONS, KERNELS, Container, Node

KINDS = {"x.shares": SlotKind("x.shares", "count", step=10)}
NAMES = ("A", "B")


@dataclass
class Labelled(Container):
    """A container with its devices on its labels."""

    devices: Mapping[str, Mapping[str, int]] | None = None


class Accelerated(Node):
    def __init__(self) -> None:
        super().__init__()
        self.sick: set[str] = set()
        self.gone: set[str] = set()
        self.state = State(CAPACITY, pool=self.pool())

    def pool(self) -> Pool:
        return Pool(
            KINDS,
            {
                name: Device(name, "x", capacity={"x.shares": 1000}, healthy=name not in self.sick)
                for name in NAMES
                if name not in self.gone
            },
        )

    def finish(self, ref: Ref) -> None:
        work = self.work.get(ref)
        if not isinstance(work, Create):
            return super().finish(ref)
        del self.work[ref]
        for old in [old for old in self.containers if old[0] == ref[0]]:
            del self.containers[old]
        self.containers[ref] = Labelled(work.spec.slots, devices=work.spec.devices)
        return self.tell(Created(ref, "id"))

    # What may happen

    @rule(
        kernel=KERNELS,
        generation=GENERATIONS,
        cpu=st.integers(0, 1),
        shares=st.sampled_from([0, 200, 500, 700, 1000, 1500, 2000]),
        spans=st.booleans(),
    )
    def create(self, kernel: str, generation: int, cpu: int, shares: int, spans: bool) -> None:  # type: ignore[override]
        ref = (kernel, generation)
        slots = {"cpu": cpu} | ({"x.shares": shares} if shares else {})
        spec = KernelSpec(
            *("s", "s", "i", "x", slots),
            spanning=("x.shares",) if spans else (),
            pull_timeout=50,
            create_timeout=20,
        )
        command = self.accepted.get(ref) or CreateKernel(1, kernel, generation, spec)
        instructions = self.state.handle(command, self.now)
        for instruction in instructions:
            if isinstance(instruction, Answer) and not instruction.error:
                self.accepted[ref] = command
        for instruction in instructions:
            self.obey(instruction)

    @rule()
    def agent_restarts(self) -> None:
        """Killed with no warning: all that is left is what the engine has, and what was journalled."""
        for ref in list(self.work):
            self.give_up(ref)
        self.watches.clear()
        before = self.on_labels()
        self.state = State(CAPACITY, self.journal.values(), self.pool())
        self.recover()
        after = self.state.attempts.held()
        for name, amount in before.items():
            assert after.get(name, {}).get("x.shares", 0) >= amount, "what lives has lost its device"

    @rule(name=st.sampled_from(NAMES), what=st.sampled_from(["fails", "vanishes", "returns"]))
    def a_device_changes(self, name: str, what: str) -> None:
        self.sick.discard(name)
        self.gone.discard(name)
        if what == "fails":
            self.sick.add(name)
        elif what == "vanishes":
            self.gone.add(name)
        self.state.attempts.pool = self.pool()

    def recover(self) -> None:
        phases: dict[str, Phase] = {"made": "CREATING", "live": "RUNNING", "dead": "TERMINATED"}
        reports = [
            KernelReport(
                *(*ref, "s", phases[container.status]),
                slots=container.slots,
                devices={slot: dict(amounts) for slot, amounts in (container.devices or {}).items()},
            )
            for ref, container in self.containers.items()
            if isinstance(container, Labelled)
        ]
        self.tell(Recovered(tuple(reports)))

    # What always holds

    def on_labels(self, *, made: bool = False) -> dict[str, int]:
        """Device → what containers that live (or may come to life) have of it."""
        total: dict[str, int] = {}
        for container in self.containers.values():
            if container.status == "live" or (made and container.status == "made"):
                assert isinstance(container, Labelled)
                for name, amount in (container.devices or {}).get("x.shares", {}).items():
                    total[name] = total.get(name, 0) + amount
        return total

    @invariant()
    def no_device_is_given_twice(self) -> None:
        for name, amount in self.on_labels(made=True).items():
            assert amount <= 1000, f"{name}: {amount}"
        for name, amounts in self.state.attempts.held().items():
            assert sum(amounts.values()) <= 1000, f"{name}: {amounts}"

    @invariant()
    def what_lives_is_held(self) -> None:
        held = self.state.attempts.held()
        for name, amount in self.on_labels().items():
            assert held.get(name, {}).get("x.shares", 0) >= amount

    @invariant()
    def the_node_never_says_that_it_has_less_than_it_runs(self) -> None:
        attempts = self.state.attempts
        held = sum(amounts.get("x.shares", 0) for amounts in attempts.held().values())
        free = sum(a.get("x.shares", 0) for a in attempts.pool.free(attempts.held()).values())
        assert attempts.all_slots()["x.shares"] == held + free

    @invariant()
    def every_attempt_has_the_devices_that_it_was_given_slots_for(self) -> None:
        for attempt in self.state.attempts:
            if attempt.devices and attempt.spec:
                given = sum(attempt.spec.devices.get("x.shares", {}).values())
                assert given == attempt.spec.slots.get("x.shares", 0)


Accelerated.TestCase.settings = settings(
    max_examples=300, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAccelerated = pytest.mark.timeout(300)(Accelerated.TestCase)
