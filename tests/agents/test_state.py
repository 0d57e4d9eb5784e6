"""The node's state machine as data in, data out. Each docstring tells the story."""

from agents.attempts import HALF_SECONDS, HURRY_SECONDS, RETRY_SECONDS, STOP_SECONDS
from agents.protocol import (
    CreateKernel,
    DestroyKernel,
    KernelLog,
    KernelPhase,
    KernelRef,
    KernelReport,
    KernelSpec,
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
    Remove,
    Removed,
    RemoveFailed,
    Start,
    Started,
    StateEvent,
    Stop,
    StopFailed,
    Stopped,
    Tick,
    Watch,
    WatchFailed,
)

CAPACITY = {"cpu": 4000, "mem": 8 << 30}
SPEC = KernelSpec(
    session="ses_1", session_name="one", image="python:3", architecture="x86_64", slots={"cpu": 1000}
)
REF = ("knl_1", 1)
EXIT = Exit(0, "EXITED", "Its main process ended with code 0.")


class Story:
    """A state machine and a clock; `tell` gives the instructions of the last event."""

    def __init__(self, **slots: int) -> None:
        self.state = State({**CAPACITY, **slots})
        self.now = 0.0
        self.told: list[KernelPhase] = []

    def tell(self, *events: StateEvent, after: float = 0.0) -> list[Instruction]:
        self.now += after
        out: list[Instruction] = []
        for event in events:
            out = self.state.handle(event, self.now)
            self.told += [i.body for i in out if isinstance(i, Emit) and isinstance(i.body, KernelPhase)]
        return out

    def tick(self, *, after: float) -> list[Instruction]:
        return self.tell(Tick(), after=after)

    def phases(self, kernel: str = "knl_1") -> list[str]:
        return [body.phase for body in self.told if body.kernel == kernel]

    def run(self, ref: tuple[str, int] = REF) -> "Story":
        self.tell(create(ref), PullDone(ref), Created(ref, "c1"), Started(ref))
        return self


def create(ref: tuple[str, int] = REF, request: int = 1, spec: KernelSpec = SPEC) -> CreateKernel:
    return CreateKernel(request, *ref, spec)


def destroy(ref: tuple[str, int] = REF, grace: float = 5.0, request: int = 2) -> DestroyKernel:
    return DestroyKernel(request, *ref, grace_seconds=grace)


def report(ref: tuple[str, int] = REF, phase: str = "RUNNING") -> KernelReport:
    return KernelReport(ref[0], ref[1], "ses_1", phase, container="c1", slots={"cpu": 1000})  # type: ignore[arg-type]


def work(instructions: list[Instruction]) -> list[Instruction]:
    return [i for i in instructions if not isinstance(i, Emit | Answer)]


def test_a_kernel_comes_up_and_says_each_phase_once() -> None:
    story = Story()

    assert work(story.tell(create())) == [Pull(REF, SPEC)]
    assert work(story.tell(PullDone(REF))) == [Create(REF, SPEC)]
    assert work(story.tell(Created(REF, "c1"))) == [Start(REF)]
    assert work(story.tell(Started(REF))) == [Watch(REF)]

    assert story.phases() == ["PULLING", "PREPARED", "CREATING", "RUNNING"]
    assert story.told[-1].container == "c1"
    assert story.state.next_deadline() is None


def test_the_same_command_again_starts_nothing_again() -> None:
    """The manager's sweep sends what it is not sure of, at every moment of a kernel's life."""
    story = Story()
    for event in (create(), PullDone(REF), Created(REF, "c1"), Started(REF)):
        story.tell(event)
        assert story.tell(create(request=7)) == [Answer(7)]


def test_a_kernel_that_ends_by_itself_leaves_its_log_and_its_exit_code() -> None:
    """A batch job is done: what it left behind is ended, its log kept, its end told, its container removed."""
    story = Story().run()

    assert work(story.tell(Exited(REF, Exit(3, "EXITED", "code 3")))) == [Stop(REF, 0)]
    assert story.tell(Stopped(REF)) == [CollectLog(REF)]
    log, end, removal = story.tell(LogCollected(REF, b"zzz", 10))

    assert log == Emit(KernelLog("knl_1", 1, b"zzz", 10))
    assert end == Emit(KernelPhase("knl_1", 1, "ses_1", "TERMINATED", "EXITED", "code 3", 3, "c1"))
    assert removal == Remove(REF)
    assert story.state.attempts.used() == {}
    story.tell(Removed(REF))
    assert story.state.reports() == ()


def test_a_kernel_out_of_memory_says_so() -> None:
    story = Story().run()
    story.tell(Exited(REF, Exit(137, "OOM_KILLED", "more memory than it has")), Stopped(REF), LogFailed(REF))
    assert (story.told[-1].phase, story.told[-1].code) == ("TERMINATED", "OOM_KILLED")


def test_an_image_that_cannot_be_had_is_an_error_with_the_runtimes_reason() -> None:
    story = Story()
    story.tell(create())
    assert work(story.tell(PullFailed(REF, "IMAGE_NOT_FOUND", "no such image"))) == []
    assert story.told[-1].phase == "ERROR"
    assert (story.told[-1].code, story.told[-1].message) == ("IMAGE_NOT_FOUND", "no such image")
    assert story.state.attempts.used() == {}


def test_a_failed_create_is_an_error_only_once_nothing_is_left() -> None:
    """An engine that fails half-way may have left a process: it is ended before anybody may start it elsewhere."""
    story = Story()
    story.tell(create(), PullDone(REF))
    assert story.tell(CreateFailed(REF, "NO_SPACE", "the disk is full")) == [Stop(REF, 0)]
    assert story.phases() == ["PULLING", "PREPARED", "CREATING"]
    assert work(story.tell(Stopped(REF))) == [Remove(REF)]
    assert (story.told[-1].phase, story.told[-1].code) == ("ERROR", "NO_SPACE")


def test_a_pull_that_never_ends_times_out() -> None:
    story = Story()
    story.tell(create())
    assert story.state.next_deadline() == SPEC.pull_timeout
    assert work(story.tick(after=SPEC.pull_timeout - 1)) == []
    assert work(story.tick(after=1)) == [Cancel(REF)]
    assert (story.told[-1].phase, story.told[-1].code) == ("ERROR", "TIMED_OUT")


def test_a_start_that_never_ends_times_out_and_what_lived_is_stopped() -> None:
    story = Story()
    story.tell(create(), PullDone(REF), Created(REF, "c1"))
    assert work(story.tick(after=SPEC.create_timeout)) == [Cancel(REF), Stop(REF, 0)]
    assert "ERROR" not in story.phases()
    story.tell(Stopped(REF), LogFailed(REF))
    assert (story.told[-1].phase, story.told[-1].code) == ("ERROR", "TIMED_OUT")


def test_a_result_that_comes_after_the_time_out_means_nothing() -> None:
    """The engine wakes up and says `started` when the kernel is being stopped already."""
    story = Story()
    story.tell(create(), PullDone(REF), Created(REF, "c1"))
    story.tick(after=SPEC.create_timeout)
    assert story.tell(Started(REF)) == []
    assert "RUNNING" not in story.phases()


def test_an_end_on_request_is_told_when_no_process_is_left() -> None:
    story = Story().run()
    assert story.tell(destroy(grace=5)) == [
        Answer(2),
        Emit(KernelPhase("knl_1", 1, "ses_1", "TERMINATING", container="c1")),
        Stop(REF, 5),
    ]
    story.tell(Exited(REF, Exit(143, "EXITED", "SIGTERM")))
    assert story.phases()[-1] == "TERMINATING"
    story.tell(Stopped(REF), LogCollected(REF, b"", 0))
    assert (story.told[-1].phase, story.told[-1].code, story.told[-1].exit_code) == (
        "TERMINATED",
        "REQUESTED",
        143,
    )


def test_a_kernel_destroyed_while_it_pulls_is_gone_at_once() -> None:
    story = Story()
    story.tell(create())
    assert work(story.tell(destroy())) == [Cancel(REF)]
    assert story.phases() == ["PULLING", "TERMINATED"]


def test_a_kernel_destroyed_while_it_is_made_waits_for_the_engine_first() -> None:
    """A call that was given up may take effect after the stop that follows it, and leave a live container."""
    story = Story()
    story.tell(create(), PullDone(REF))
    assert work(story.tell(destroy())) == []
    assert story.tell(Created(REF, "c1")) == [Stop(REF, 5)]


def test_a_forced_end_does_not_wait_long_for_a_hung_engine() -> None:
    story = Story()
    story.tell(create(), PullDone(REF), Created(REF, "c1"))
    story.tell(destroy(grace=0))
    assert work(story.tick(after=HURRY_SECONDS)) == [Cancel(REF), Stop(REF, 0)]
    story.tell(Stopped(REF), LogFailed(REF))
    assert (story.told[-1].phase, story.told[-1].code) == ("TERMINATED", "REQUESTED")


def test_force_overtakes_a_gentle_end() -> None:
    story = Story().run()
    story.tell(destroy(grace=600))
    assert work(story.tell(destroy(grace=0))) == [Cancel(REF), Stop(REF, 0)]


def test_a_stop_that_fails_is_tried_until_it_is_sure() -> None:
    """The engine is down: the kernel may live, so its end is not told and its slots stay taken. Lost is not dead."""
    story = Story().run()
    story.tell(destroy(grace=0))
    assert story.tell(StopFailed(REF, "engine unreachable")) == []
    pause = RETRY_SECONDS[0]
    for _ in range(10):
        assert story.tick(after=pause) == [Stop(REF, 0)]
        story.tell(StopFailed(REF, "engine unreachable"))
        pause = min(pause * 2, RETRY_SECONDS[1])
    assert story.phases()[-1] == "TERMINATING"
    assert story.state.attempts.used() == {"cpu": 1000}


def test_why_a_start_failed_is_told_while_its_end_is_not_yet_certain() -> None:
    """The engine went away while it was asked to make the container: nobody knows yet whether it has made one."""
    story = Story()
    story.tell(create(), PullDone(REF), CreateFailed(REF, "ENGINE_UNREACHABLE", "No answer."))
    story.tell(StopFailed(REF, "engine unreachable"))
    assert (story.told[-1].phase, story.told[-1].code) == ("TERMINATING", "ENGINE_UNREACHABLE")
    again = State(CAPACITY, story.told)
    again.handle(Recovered((KernelReport("knl_1", 1, "ses_1", "CREATING", "c1"),)), 0)
    again.handle(Stopped(REF), 1)
    ended = next(i.body for i in again.handle(LogFailed(REF), 2) if isinstance(i, Emit))
    assert isinstance(ended, KernelPhase)
    assert (ended.phase, ended.code) == ("ERROR", "ENGINE_UNREACHABLE")


def test_a_stop_that_hangs_is_given_up_and_tried_again() -> None:
    story = Story().run()
    story.tell(destroy(grace=5))
    assert story.tick(after=5 + STOP_SECONDS) == [Cancel(REF)]
    assert story.tick(after=RETRY_SECONDS[0]) == [Stop(REF, 0)]


def test_a_log_that_hangs_does_not_hold_up_the_end() -> None:
    story = Story().run()
    story.tell(destroy(), Stopped(REF))
    story.tick(after=60)
    assert story.phases()[-1] == "TERMINATED"


def test_a_container_that_will_not_go_is_tried_again_and_takes_no_slots() -> None:
    story = Story().run()
    story.tell(destroy(), Stopped(REF), LogFailed(REF), RemoveFailed(REF, "device busy"))
    assert story.state.attempts.used() == {}
    assert story.tick(after=RETRY_SECONDS[0]) == [Remove(REF)]


def test_watching_goes_on_after_the_engine_came_back() -> None:
    story = Story().run()
    assert story.tell(WatchFailed(REF)) == []
    assert story.tick(after=RETRY_SECONDS[0]) == [Watch(REF)]
    assert story.phases()[-1] == "RUNNING"


def test_an_unknown_kernel_that_shall_end_has_ended_once_the_runtime_agrees() -> None:
    """A killed engine may have left a live process behind a container that nobody remembers: so it is asked."""
    story = Story()
    assert story.tell(destroy()) == [Answer(2), Stop(REF, 5)]
    assert story.tell(Stopped(REF))[-1] == Remove(REF)
    assert (story.told[-1].phase, story.told[-1].code) == ("TERMINATED", "REQUESTED")


def test_what_has_ended_is_told_again_to_whoever_asks_again() -> None:
    story = Story().run()
    story.tell(destroy(), Stopped(REF), LogFailed(REF), Removed(REF))
    end = story.told[-1]
    assert story.tell(destroy()) == [Answer(2), Emit(end)]
    assert story.tell(create()) == [Answer(1), Emit(end)], "an ended generation is never started again"


def test_an_older_generation_is_refused() -> None:
    story = Story().run(("knl_1", 3))
    (answer,) = story.tell(create(("knl_1", 2)))
    assert isinstance(answer, Answer)
    assert answer.error == "STALE_GENERATION"
    (answer,) = story.tell(destroy(("knl_1", 2)))
    assert isinstance(answer, Answer)
    assert answer.error == "STALE_GENERATION"
    assert story.phases() == ["PULLING", "PREPARED", "CREATING", "RUNNING"]


def test_a_newer_generation_first_ends_what_the_old_one_has() -> None:
    story = Story().run()
    new = ("knl_1", 2)
    assert work(story.tell(create(new))) == [Stop(REF, 0)]
    assert work(story.tell(Stopped(REF))) == [CollectLog(REF)]
    instructions = story.tell(LogFailed(REF))
    assert work(instructions) == [Remove(REF), Cancel(REF), Pull(new, SPEC)]
    assert [(b.generation, b.phase) for b in story.told[-2:]] == [(1, "TERMINATED"), (2, "PULLING")]


def test_a_newer_generation_that_is_destroyed_before_it_began_ends_after_the_old_one() -> None:
    story = Story().run()
    new = ("knl_1", 2)
    story.tell(create(new), destroy(new))
    assert "TERMINATED" not in story.phases()
    story.tell(Stopped(REF), LogFailed(REF))
    assert [(b.generation, b.phase) for b in story.told[-2:]] == [(1, "TERMINATED"), (2, "TERMINATED")]


def test_the_destruction_of_a_newer_generation_ends_the_old_one_too() -> None:
    """The command that made generation 2 was lost; the one that ends it arrives."""
    story = Story().run()
    assert work(story.tell(destroy(("knl_1", 2)))) == [Stop(REF, 0)]
    story.tell(Stopped(REF), LogFailed(REF))
    assert [(b.generation, b.phase) for b in story.told[-2:]] == [(1, "TERMINATED"), (2, "TERMINATED")]


def test_a_newer_generation_that_waits_too_long_fails_when_the_old_one_is_gone() -> None:
    story = Story().run()
    new = ("knl_1", 2)
    story.tell(create(new))
    story.tick(after=SPEC.pull_timeout)
    story.tick(after=RETRY_SECONDS[0])
    story.tell(Stopped(REF), LogFailed(REF))
    assert (story.told[-1].generation, story.told[-1].phase, story.told[-1].code) == (2, "ERROR", "TIMED_OUT")


def test_a_kernel_that_does_not_fit_is_refused() -> None:
    """The manager's books were behind: two of its processes gave away the same cores."""
    story = Story(cpu=1500).run()
    (answer,) = story.tell(create(("knl_2", 1)))
    assert isinstance(answer, Answer)
    assert answer.error == "NO_CAPACITY"
    assert "cpu: 1000 asked for, 500 free of 1500" in answer.message


def test_a_slot_that_the_node_does_not_have_is_refused() -> None:
    story = Story()
    spec = KernelSpec("ses_1", "one", "python:3", "x86_64", {"cpu": 1, "cuda.shares": 100})
    (answer,) = story.tell(create(spec=spec))
    assert isinstance(answer, Answer)
    assert answer.error == "NO_CAPACITY"


def test_a_restarted_agent_goes_on_with_what_runs() -> None:
    story = Story()
    assert work(story.tell(Recovered((report(),)))) == [Watch(REF)]
    assert story.state.reports() == (report(),)
    assert story.state.attempts.used() == {"cpu": 1000}
    assert story.tell(create()) == [Answer(1)]


def test_a_kernel_that_ended_while_the_agent_was_away_leaves_its_exit_code() -> None:
    story = Story()
    assert work(story.tell(Recovered((report(phase="TERMINATED"),)))) == [Watch(REF)]
    story.tell(Exited(REF, Exit(7, "EXITED", "code 7")), Stopped(REF), LogFailed(REF))
    assert (story.told[-1].phase, story.told[-1].exit_code) == ("TERMINATED", 7)


def test_a_half_made_kernel_is_made_anew_when_its_command_comes_again() -> None:
    """The agent was killed between `create` and `start`. To the manager it is missing: it sends the command again."""
    story = Story()
    assert story.tell(Recovered((report(phase="CREATING"),))) == []
    assert story.state.reports() == ()
    assert work(story.tell(create())) == [Pull(REF, SPEC)]
    assert work(story.tell(PullDone(REF))) == [Create(REF, SPEC)]


def test_a_half_made_kernel_that_nobody_asks_for_is_ended() -> None:
    story = Story()
    story.tell(Recovered((report(phase="CREATING"),)))
    assert work(story.tick(after=HALF_SECONDS)) == [Stop(REF, 0)]
    story.tell(Stopped(REF), LogFailed(REF))
    assert (story.told[-1].phase, story.told[-1].code) == ("ERROR", "TIMED_OUT")


def test_of_two_generations_found_the_older_is_ended() -> None:
    story = Story()
    new = ("knl_1", 2)
    assert work(story.tell(Recovered((report(new), report())))) == [Watch(new), Stop(REF, 0)]


def test_what_ended_and_is_found_alive_must_go_without_another_word() -> None:
    """The engine carried out a start that had been given up long ago."""
    story = Story().run()
    story.tell(destroy(), Stopped(REF), LogFailed(REF), Removed(REF))
    told = len(story.told)
    assert story.tell(Recovered((report(),))) == [Stop(REF, 0)]
    assert story.tell(Stopped(REF)) == [Remove(REF)]
    assert len(story.told) == told


def test_an_unknown_kernel_is_left_alone_until_the_manager_says_so() -> None:
    story = Story()
    story.tell(Recovered((report(),)))
    welcome = Welcome(1, 0, 10.0, 40.0, 2.0, remove=(KernelRef("knl_1", 1),))
    assert work(story.tell(Connected(welcome))) == [Stop(REF, 5.0)]
    story.tell(Stopped(REF), LogFailed(REF))
    assert (story.told[-1].phase, story.told[-1].code) == ("TERMINATED", "GIVEN_UP")


def test_the_ended_are_remembered_over_a_restart() -> None:
    """The journal says that generation 2 ended; a command that was sent before that arrives late."""
    end = KernelPhase("knl_1", 2, "ses_1", "TERMINATED", "EXITED")
    state = State(CAPACITY, [end])
    assert state.handle(create(("knl_1", 2)), 0) == [Answer(1), Emit(end)]
    (answer,) = state.handle(create(("knl_1", 1)), 0)
    assert isinstance(answer, Answer)
    assert answer.error == "STALE_GENERATION"
    assert work(state.handle(create(("knl_1", 3)), 0)) == [Pull(("knl_1", 3), SPEC)]


def test_a_waiting_generation_ends_with_the_one_that_it_waits_for() -> None:
    """Both are late at the same tick: the older one's log never came."""
    story = Story().run()
    new = ("knl_1", 2)
    story.tell(create(new), destroy(new), Stopped(REF))
    story.tick(after=SPEC.pull_timeout)
    assert [(b.generation, b.phase) for b in story.told[-2:]] == [(1, "TERMINATED"), (2, "TERMINATED")]


def test_a_dead_container_that_was_not_removed_takes_no_slots_again() -> None:
    """Generation 2 began before the container of generation 1 was removed; a reconnect finds it."""
    story = Story().run()
    small = KernelSpec("ses_1", "one", "python:3", "x86_64", {"cpu": 100})
    story.tell(create(("knl_1", 2), spec=small), Stopped(REF), LogFailed(REF))
    story.tell(Recovered((report(phase="TERMINATED"),)))
    assert story.state.attempts.used() == {"cpu": 100}
