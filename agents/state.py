"""The node's state machine: events in, instructions out. No I/O, no clock.

    CreateKernel ─▶ WAIT ─▶ PULL ─▶ CREATE ─▶ START ─▶ WATCH            the phases PULLING … RUNNING are told on the way
                     │       │        │         │        │ exit
                     │       │        └─ failed, late, ──┤
                     │       │           or destroyed    ▼
                     │       │                         STOP ─▶ COLLECT ─▶ REMOVE ─▶ forgotten
                     └───────┴─ nothing lived: ERROR / TERMINATED      │
                                                       ERROR / TERMINATED is told here

    WAIT   an older generation of the same kernel is still being ended
    HALF   found after a restart, made but not started: waits for the manager to send its command again

ERROR and TERMINATED are told only when no process of the kernel is left, so that whoever hears them may run it
elsewhere; until then TERMINATING says why it comes to its end. A stop that cannot be confirmed is repeated for ever: lost
is not dead, and its slots stay taken.
Rising generations fence: what an older one has is ended first, what belongs to an older one is refused.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import singledispatchmethod

import msgspec

from agents.accelerators.pools import NoRoom
from agents.attempts import (
    COLLECT_SECONDS,
    FINAL,
    HALF_SECONDS,
    HURRY_SECONDS,
    REMOVE_SECONDS,
    RETRY_SECONDS,
    STOP_SECONDS,
    Attempt,
    Outcome,
    Step,
)
from agents.machine import Machine
from agents.protocol import (
    CreateKernel,
    DestroyKernel,
    KernelLog,
    KernelReport,
)
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
)


class State(Machine):
    """All kernels of the node: the rules. See `Machine` for how it is made."""

    def handle(self, event: StateEvent, now: float) -> list[Instruction]:
        """Take one event and say what to do, in order. `now`: seconds of a clock that never jumps."""
        self._now = max(self._now, now)
        self._on(event)
        out, self._out = self._out, []
        return out

    # Commands

    @singledispatchmethod
    def _on(self, event: StateEvent) -> None:
        raise TypeError(f"no event of the state machine: {event!r}")

    @_on.register
    def _(self, event: CreateKernel) -> None:
        ref = (event.kernel, event.generation)
        known = self.attempts.get(ref)
        ended = self.attempts.ended(event.kernel)
        if self.attempts.newest(event.kernel) > event.generation:
            self._refuse_stale(event)
        elif known and known.step is not Step.HALF:
            self._do(Answer(event.request))
        elif known is None and ended and ended.generation == event.generation:
            self._do(Answer(event.request), Emit(ended))
        elif lacking := self.attempts.lacking(event.kernel, event.spec.slots):
            self._do(Answer(event.request, "NO_CAPACITY", lacking))
        else:
            try:
                devices = self.attempts.place(event.kernel, event.spec)
            except NoRoom as full:
                self._do(Answer(event.request, "NO_CAPACITY", str(full)))
                return
            self._do(Answer(event.request))
            attempt = known or self._new(ref, event.spec.session, Step.WAIT)
            attempt.step, attempt.slots = Step.WAIT, event.spec.slots
            attempt.spec = msgspec.structs.replace(event.spec, devices=devices)
            # What was half made may live on the devices that it was made for: they are its own until it is made anew.
            attempt.devices = _both(attempt.devices, devices)
            attempt.deadline = self._now + event.spec.pull_timeout
            self._end_older(attempt)
            self._begin(attempt)

    @_on.register
    def _(self, event: DestroyKernel) -> None:
        if self.attempts.newest(event.kernel) > event.generation:
            self._refuse_stale(event)
        else:
            self._do(Answer(event.request))
            ref = (event.kernel, event.generation)
            self._destroy(ref, event.grace_seconds, "REQUESTED", "Terminated as requested.")

    @_on.register
    def _(self, event: Connected) -> None:
        for unwanted in event.welcome.remove:
            ref = (unwanted.kernel, unwanted.generation)
            if ref in self.attempts or self.attempts.newest(unwanted.kernel) <= unwanted.generation:
                self._destroy(ref, 5.0, "GIVEN_UP", "It was given up before its node came back.")

    def _destroy(self, ref: Ref, grace: float, code: str, message: str) -> None:
        attempt = self.attempts.get(ref)
        ended = self.attempts.ended(ref[0])
        if ended and ended.generation == ref[1] and (attempt is None or attempt.over):
            ended = msgspec.structs.replace(ended, phase="TERMINATED")
            self.attempts.remember(ended)
            self._do(Emit(ended))
        elif attempt is None:
            # Never heard of, or long forgotten: what is absent is stopped at once, and what is not must go.
            attempt = self._new(ref, "", Step.WAIT)
            attempt.outcome = Outcome("TERMINATED", code, "It was not on this node.")
            self._end_older(attempt)
            if not self.attempts.living_before(attempt):
                self._stop(attempt, grace)
        elif not attempt.over:
            if attempt.told in FINAL:
                attempt.told = "TERMINATING"  # whoever asks again is told again
            previous = attempt.outcome or Outcome("TERMINATED", code, message)
            attempt.outcome = replace(previous, phase="TERMINATED")
            self._bring_down(attempt, grace)

    def _end_older(self, attempt: Attempt) -> None:
        for older in self.attempts.older(attempt):
            if older.over:
                # Only its empty container is left, which `create` removes as well.
                self._do(Cancel(older.ref))
                self.attempts.drop(older)
            else:
                message = "A newer start of the same kernel has taken its place."
                older.outcome = older.outcome or Outcome("TERMINATED", "SUPERSEDED", message)
                self._bring_down(older, 0)

    def _refuse_stale(self, event: CreateKernel | DestroyKernel) -> None:
        newest = self.attempts.newest(event.kernel)
        message = (
            f"generation {event.generation} of this kernel is older than {newest}, which was here already"
        )
        self._do(Answer(event.request, "STALE_GENERATION", message))

    def _bring_down(self, attempt: Attempt, grace: float) -> None:
        """End an attempt that has its outcome, wherever it is."""
        match attempt.step:
            case Step.WAIT if self.attempts.living_before(attempt):
                pass  # It ends once what is older has ended: until then a process of this kernel may live.
            case Step.WAIT | Step.PULL:
                self._do(Cancel(attempt.ref))
                self._conclude(attempt)
                self._forget(attempt)
            case Step.HALF | Step.WATCH:
                self._tell(attempt, "TERMINATING")
                self._stop(attempt, grace)
            case Step.CREATE | Step.START:
                # A call to an engine that was given up may still have its effect, later than the stop that follows
                # it: so it comes to its end first, within its deadline.
                self._tell(attempt, "TERMINATING")
                attempt.grace = grace
                if grace <= 0 and attempt.deadline is not None:
                    attempt.deadline = min(attempt.deadline, self._now + HURRY_SECONDS)
            case Step.STOP if grace <= 0 < attempt.grace:
                self._do(Cancel(attempt.ref))
                self._stop(attempt, 0)
            case _:
                pass

    # The way up

    def _begin(self, attempt: Attempt) -> None:
        """Start an attempt that waits, once nothing older of its kernel is left."""
        if attempt.step is not Step.WAIT or self.attempts.living_before(attempt):
            return
        if attempt.outcome or attempt.spec is None:
            self._conclude(attempt)
            self._forget(attempt)
            return
        self._end_older(attempt)
        attempt.step = Step.PULL
        self._tell(attempt, "PULLING")
        self._do(Pull(attempt.ref, attempt.spec))

    @_on.register
    def _(self, event: PullDone) -> None:
        if (attempt := self._at(event.ref, Step.PULL)) and attempt.spec:
            self._tell(attempt, "PREPARED")
            self._tell(attempt, "CREATING")
            attempt.step = Step.CREATE
            attempt.deadline = self._now + attempt.spec.create_timeout
            self._do(Create(attempt.ref, attempt.spec))

    @_on.register
    def _(self, event: PullFailed) -> None:
        if attempt := self._at(event.ref, Step.PULL):
            attempt.outcome = Outcome("ERROR", event.code, event.message)
            self._conclude(attempt)
            self._forget(attempt)

    @_on.register
    def _(self, event: Created) -> None:
        if attempt := self._at(event.ref, Step.CREATE):
            attempt.container = event.container
            if attempt.spec:
                attempt.devices = attempt.spec.devices
            if attempt.outcome:
                self._stop(attempt, attempt.grace)
            else:
                attempt.step = Step.START
                self._do(Start(attempt.ref))

    @_on.register
    def _(self, event: Started) -> None:
        if attempt := self._at(event.ref, Step.START):
            if attempt.outcome:
                self._stop(attempt, attempt.grace)
            else:
                self._tell(attempt, "RUNNING")
                self._watch(attempt)

    @_on.register
    def _(self, event: CreateFailed) -> None:
        if attempt := self._at(event.ref, Step.CREATE):
            self._fail(attempt, event.code, event.message)

    @_on.register
    def _(self, event: StartFailed) -> None:
        if attempt := self._at(event.ref, Step.START):
            self._fail(attempt, event.code, event.message)

    def _watch(self, attempt: Attempt) -> None:
        attempt.step, attempt.deadline = Step.WATCH, None
        self._do(Watch(attempt.ref))

    def _fail(self, attempt: Attempt, code: str, message: str) -> None:
        attempt.outcome = attempt.outcome or Outcome("ERROR", code, message)
        self._stop(attempt, 0)

    # The way down

    @_on.register
    def _(self, event: Exited) -> None:
        attempt = self.attempts.get(event.ref)
        if attempt is None or attempt.step not in (Step.WATCH, Step.STOP):
            return
        if attempt.outcome is None:
            attempt.outcome = Outcome("TERMINATED", event.exit.code, event.exit.message, event.exit.exit_code)
        elif attempt.outcome.exit_code is None:
            attempt.outcome = replace(attempt.outcome, exit_code=event.exit.exit_code)
        if attempt.step is Step.WATCH:
            # Its main process is gone; this ends whatever it has left behind.
            self._stop(attempt, 0)

    @_on.register
    def _(self, event: WatchFailed) -> None:
        if attempt := self._at(event.ref, Step.WATCH):
            self._pause(attempt)

    def _stop(self, attempt: Attempt, grace: float) -> None:
        attempt.step, attempt.grace = Step.STOP, max(grace, 0.0)
        attempt.deadline = self._now + attempt.grace + STOP_SECONDS
        attempt.failures = 0
        attempt.pausing = False
        self._do(Stop(attempt.ref, attempt.grace))

    @_on.register
    def _(self, event: StopFailed) -> None:
        if attempt := self._at(event.ref, Step.STOP):
            if attempt.outcome and attempt.outcome.phase == "ERROR":
                # Its end cannot be told until it is certain, but why it comes can.
                self._tell(attempt, "TERMINATING", attempt.outcome)
            self._pause(attempt)

    @_on.register
    def _(self, event: Stopped) -> None:
        if attempt := self._at(event.ref, Step.STOP):
            if attempt.told not in FINAL and (attempt.container or attempt.told == "RUNNING"):
                attempt.step = Step.COLLECT
                attempt.deadline = self._now + COLLECT_SECONDS
                attempt.pausing = False
                self._do(CollectLog(attempt.ref))
            else:
                self._clear(attempt)

    @_on.register
    def _(self, event: LogCollected) -> None:
        if attempt := self._at(event.ref, Step.COLLECT):
            self._do(Emit(KernelLog(attempt.ref[0], attempt.ref[1], event.data, event.size)))
            self._clear(attempt)

    @_on.register
    def _(self, event: LogFailed) -> None:
        if attempt := self._at(event.ref, Step.COLLECT):
            self._clear(attempt)

    def _clear(self, attempt: Attempt) -> None:
        """Nothing lives: tell so, remove the container, and let what waits for it begin."""
        self._conclude(attempt)
        attempt.step, attempt.failures = Step.REMOVE, 0
        attempt.deadline, attempt.pausing = self._now + REMOVE_SECONDS, False
        self._do(Remove(attempt.ref))
        self._begin_waiting(attempt.ref[0])

    @_on.register
    def _(self, event: Removed) -> None:
        if attempt := self._at(event.ref, Step.REMOVE):
            self._forget(attempt)

    @_on.register
    def _(self, event: RemoveFailed) -> None:
        if attempt := self._at(event.ref, Step.REMOVE):
            self._pause(attempt)

    def _forget(self, attempt: Attempt) -> None:
        self.attempts.drop(attempt)
        self._begin_waiting(attempt.ref[0])

    def _begin_waiting(self, kernel: str) -> None:
        for attempt in self.attempts.of(kernel):
            if attempt.ref in self.attempts:
                self._begin(attempt)

    # Time

    @_on.register
    def _(self, event: Tick) -> None:
        for attempt in self.attempts:
            # One that is late may take another with it.
            if (
                attempt.ref in self.attempts
                and attempt.deadline is not None
                and attempt.deadline <= self._now
            ):
                self._late(attempt)

    def _late(self, attempt: Attempt) -> None:
        seconds = attempt.spec.create_timeout if attempt.spec else HALF_SECONDS
        match attempt.step:
            case Step.WAIT if self.attempts.living_before(attempt):
                self._say_late(attempt, "What an earlier start of it left behind could not be ended in time.")
                attempt.deadline = None  # told once what is older is gone
            case Step.WAIT | Step.PULL:
                limit = attempt.spec.pull_timeout if attempt.spec else 0
                self._say_late(attempt, f"The image was not on the node within {limit:g} s.")
                self._bring_down(attempt, 0)
            case Step.HALF:
                self._say_late(
                    attempt, "The agent was restarted while it was made, and no command came again."
                )
                self._stop(attempt, 0)
            case Step.CREATE | Step.START:
                doing = "made" if attempt.step is Step.CREATE else "started"
                self._say_late(attempt, f"The container was not {doing} within {seconds:g} s.")
                self._do(Cancel(attempt.ref))
                self._stop(attempt, 0)
            case Step.COLLECT:
                self._do(Cancel(attempt.ref))
                self._clear(attempt)
            case Step.WATCH | Step.STOP | Step.REMOVE:
                self._again(attempt)

    def _say_late(self, attempt: Attempt, message: str) -> None:
        attempt.outcome = attempt.outcome or Outcome("ERROR", "TIMED_OUT", message)

    def _pause(self, attempt: Attempt) -> None:
        """Ask the runtime again in a while: what fails at once would otherwise spin."""
        first, most = RETRY_SECONDS
        attempt.deadline = self._now + min(first * 2**attempt.failures, most)
        attempt.failures = min(attempt.failures + 1, 16)
        attempt.pausing = True

    def _again(self, attempt: Attempt) -> None:
        if not attempt.pausing:
            self._do(Cancel(attempt.ref))
            self._pause(attempt)
            return
        attempt.pausing = False
        match attempt.step:
            case Step.WATCH:
                attempt.deadline = None
                self._do(Watch(attempt.ref))
            case Step.STOP:
                attempt.grace = 0.0
                attempt.deadline = self._now + STOP_SECONDS
                self._do(Stop(attempt.ref, 0.0))
            case _:
                attempt.deadline = self._now + REMOVE_SECONDS
                self._do(Remove(attempt.ref))

    # After a restart

    @_on.register
    def _(self, event: Recovered) -> None:
        for report in event.reports:
            if (report.kernel, report.generation) not in self.attempts:
                self._recover(report)
        for kernel in {report.kernel for report in event.reports}:
            self._end_older(self.attempts.of(kernel)[-1])

    def _recover(self, report: KernelReport) -> None:
        newest, ended = self.attempts.newest(report.kernel), self.attempts.ended(report.kernel)
        attempt = self._new((report.kernel, report.generation), report.session, Step.HALF)
        attempt.slots, attempt.devices, attempt.container = report.slots, report.devices, report.container
        if newest > report.generation or (ended and ended.generation == report.generation):
            # Its end was told already, or is of no interest any more: what is left must go, and nothing is said.
            attempt.outcome = Outcome("TERMINATED", "SUPERSEDED", "")
            attempt.told = attempt.outcome.phase
            if report.phase in FINAL:
                # Given back when its end was told, and perhaps taken by another since.
                attempt.slots, attempt.devices = {}, {}
            self._stop(attempt, 0)
        elif attempt.outcome:
            self._stop(attempt, 0)
        elif report.phase in ("PULLING", "PREPARED", "CREATING"):
            attempt.deadline = self._now + HALF_SECONDS
        else:
            # One that ended meanwhile did run, and is watched like one that does: `wait` tells how it ended.
            if report.phase in ("RUNNING", "TERMINATED"):
                self._tell(attempt, "RUNNING")
            self._watch(attempt)


def _both(
    one: Mapping[str, Mapping[str, int]], other: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, int]]:
    """Two allocations of which one at a time is in use: of each device the larger amount."""
    return {
        slot: {
            device: max(one.get(slot, {}).get(device, 0), other.get(slot, {}).get(device, 0))
            for device in {**one.get(slot, {}), **other.get(slot, {})}
        }
        for slot in {**one, **other}
    }
