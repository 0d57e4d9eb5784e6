"""Devices through the life of kernels, as data in and data out. Each docstring tells the story."""

from agents.accelerators.pools import Pool
from agents.protocol import (
    CreateKernel,
    DestroyKernel,
    Device,
    KernelPhase,
    KernelReport,
    KernelSpec,
    SlotKind,
)
from agents.runtimes.contract import Exit
from agents.state import State
from agents.steps import (
    Answer,
    Create,
    Created,
    Emit,
    Exited,
    Instruction,
    LogCollected,
    PullDone,
    Recovered,
    Removed,
    Started,
    Stopped,
)

KINDS = {"x.shares": SlotKind("x.shares", "count", step=10)}


def pool(*names: str, sick: str = "") -> Pool:
    devices = [
        Device(
            name,
            "x",
            capacity={"x.shares": 1000},
            healthy=name not in sick,
            reason="It failed." if name in sick else "",
        )
        for name in names
    ]
    return Pool(KINDS, {device.id: device for device in devices})


def node(*names: str) -> State:
    return State({"cpu": 4000}, pool=pool(*names))


def command(
    kernel: str, shares: int, generation: int = 1, devices: dict[str, dict[str, int]] | None = None
) -> CreateKernel:
    slots = {"cpu": 100, "x.shares": shares}
    return CreateKernel(7, kernel, generation, KernelSpec("s", "s", "i", "x", slots, devices=devices or {}))


def tell(state: State, *events: object) -> list[Instruction]:
    out: list[Instruction] = []
    for event in events:
        out = state.handle(event, 0.0)  # type: ignore[arg-type]
    return out


def run(state: State, kernel: str, shares: int, generation: int = 1) -> None:
    ref = (kernel, generation)
    tell(state, command(kernel, shares, generation), PullDone(ref), Created(ref, f"c-{kernel}"), Started(ref))


def held(state: State) -> dict[str, int]:
    return {name: amounts["x.shares"] for name, amounts in state.attempts.held().items()}


def answer(instructions: list[Instruction]) -> Answer:
    return next(one for one in instructions if isinstance(one, Answer))


def test_two_halves_share_a_device_and_the_third_is_refused_with_the_numbers() -> None:
    state = node("A")
    run(state, "knl_1", 500)
    run(state, "knl_2", 500)
    assert held(state) == {"A": 1000}
    refused = answer(tell(state, command("knl_3", 500)))
    assert refused.error == "NO_CAPACITY"
    assert refused.message == "x.shares: 500 asked for, 0 free, on one device at most 0"


def test_what_is_made_is_made_with_its_devices() -> None:
    state = node("A", "B")
    run(state, "knl_1", 700)
    tell(state, command("knl_2", 700))
    (create,) = [one for one in tell(state, PullDone(("knl_2", 1))) if isinstance(one, Create)]
    assert create.spec.devices == {"x.shares": {"B": 700}}
    (report,) = [report for report in state.reports() if report.kernel == "knl_1"]
    assert report.devices == {"x.shares": {"A": 700}}


def test_devices_that_the_manager_names_are_taken_or_refused() -> None:
    state = node("A", "B")
    tell(state, command("knl_1", 700, devices={"x.shares": {"B": 700}}))
    assert held(state) == {"B": 700}
    refused = answer(tell(state, command("knl_2", 700, devices={"x.shares": {"B": 700}})))
    assert refused.message == "x.shares: 700 asked for on B, 300 free there."


def test_a_device_is_given_back_when_nothing_is_left_of_its_kernel_and_not_before() -> None:
    """Its main process ends; what it left behind may still compute until the runtime has confirmed its end."""
    state, ref = node("A"), ("knl_1", 1)
    run(state, "knl_1", 1000)
    tell(state, Exited(ref, Exit(0, "EXITED", "")))
    assert held(state) == {"A": 1000}
    tell(state, Stopped(ref))
    assert answer(tell(state, command("knl_2", 1000))).error == "NO_CAPACITY"
    tell(state, LogCollected(ref, b"", 0))
    assert held(state) == {}
    assert answer(tell(state, command("knl_2", 1000))).error == ""
    tell(state, Removed(ref))
    assert held(state) == {"A": 1000}


def test_a_newer_start_does_not_free_the_device_of_an_older_one() -> None:
    """The older one is being ended and may still use A; both are counted until it is gone."""
    state = node("A", "B")
    run(state, "knl_1", 600)
    state.attempts.pool = pool("A", "B", sick="A")
    tell(state, command("knl_1", 600, generation=2))
    assert held(state) == {"A": 600, "B": 600}
    state.attempts.pool = pool("A", "B")
    refused = answer(tell(state, command("knl_2", 500)))
    assert refused.message == "x.shares: 500 asked for, 800 free, on one device at most 400"
    tell(state, Stopped(("knl_1", 1)), LogCollected(("knl_1", 1), b"", 0))
    assert held(state) == {"B": 600}


def test_generations_on_the_same_device_take_it_once() -> None:
    state = node("A")
    run(state, "knl_1", 600)
    assert answer(tell(state, command("knl_1", 800, generation=2))).error == ""
    assert held(state) == {"A": 800}
    assert answer(tell(state, command("knl_1", 300, generation=3))).error == ""
    assert held(state) == {"A": 800}


def test_after_a_restart_the_map_is_what_the_labels_say() -> None:
    state = node("A", "B")
    tell(
        state,
        Recovered(
            (
                KernelReport("knl_1", 1, "s", "RUNNING", "c1", {"x.shares": 500}, {"x.shares": {"B": 500}}),
                KernelReport("knl_2", 1, "s", "CREATING", "c2", {"x.shares": 300}, {"x.shares": {"B": 300}}),
                KernelReport(
                    "knl_3", 1, "s", "TERMINATED", "c3", {"x.shares": 900}, {"x.shares": {"A": 900}}
                ),
            )
        ),
    )
    assert held(state) == {"A": 900, "B": 800}
    assert answer(tell(state, command("knl_4", 300))).error == "NO_CAPACITY"


def test_what_was_half_made_keeps_its_devices_until_it_is_made_anew() -> None:
    """An engine that was killed can call a container created whose process lives: on B, where it was made for. Its
    command comes again when A suits better; until the old container is gone, both are its own."""
    state, ref = node("A", "B"), ("knl_1", 1)
    half = KernelReport(*ref, "s", "CREATING", "c1", {"x.shares": 500}, {"x.shares": {"B": 500}})
    tell(state, Recovered((half,)), command("knl_1", 500))
    assert held(state) == {"A": 500, "B": 500}
    tell(state, PullDone(ref), Created(ref, "c2"))
    assert held(state) == {"A": 500}


def test_what_ended_before_the_restart_holds_nothing() -> None:
    """Its end was told, and its device may have been given to another since."""
    past = KernelPhase("knl_1", 1, "s", "TERMINATED")
    state = State({"cpu": 4000}, [past], pool("A"))
    report = KernelReport("knl_1", 1, "s", "TERMINATED", "c1", {"x.shares": 500}, {"x.shares": {"A": 500}})
    tell(state, Recovered((report,)))
    assert held(state) == {}


def test_a_node_that_has_less_than_it_runs_goes_on_and_takes_nothing_new() -> None:
    """A device fails under a kernel, and half of the processors are gone after a reboot of the host."""
    state = node("A", "B")
    run(state, "knl_1", 600)
    state.attempts.pool = pool("A", "B", sick="A")
    state.attempts.capacity = {"cpu": 50}
    assert state.attempts.all_slots() == {"cpu": 50, "x.shares": 1600}
    assert [report.kernel for report in state.reports()] == ["knl_1"]
    refused = answer(tell(state, command("knl_2", 500)))
    assert (refused.error, refused.message) == ("NO_CAPACITY", "cpu: 100 asked for, 0 free of 50")
    state.attempts.capacity = {"cpu": 4000}
    tell(state, command("knl_2", 1000))
    assert held(state) == {"A": 600, "B": 1000}


def test_slots_of_a_kernel_whose_device_is_unknown_are_not_given_again() -> None:
    """Its container was made by an agent that did not write devices down."""
    state = node("A", "B")
    tell(state, Recovered((KernelReport("knl_1", 1, "s", "RUNNING", "c1", {"x.shares": 1500}),)))
    assert answer(tell(state, command("knl_2", 600))).error == "NO_CAPACITY"
    assert answer(tell(state, command("knl_2", 500))).error == ""


def test_a_node_without_accelerators_refuses_their_slots() -> None:
    state = State({"cpu": 4000})
    assert answer(tell(state, command("knl_1", 500))).message == "x.shares: 500 asked for, 0 free of 0"


def test_a_destroyed_kernel_is_told_gone_only_without_its_processes() -> None:
    state, ref = node("A"), ("knl_1", 1)
    run(state, "knl_1", 1000)
    tell(state, DestroyKernel(1, "knl_1", 1, 0.0))
    assert held(state) == {"A": 1000}
    out = tell(state, Stopped(ref), LogCollected(ref, b"", 0))
    assert any(isinstance(one, Emit) for one in out)
    assert held(state) == {}
