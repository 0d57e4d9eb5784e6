"""What the node's state machine is made of: its attempts, its clock, what it tells and the instructions that it gives."""

from collections.abc import Iterable, Mapping

import msgspec

from agents.accelerators.pools import Pool
from agents.attempts import ORDER, Attempt, Attempts, Outcome, Step
from agents.protocol import KernelPhase, KernelReport, Phase
from agents.steps import Emit, Instruction, Ref


class Machine:
    """The part without rules; `agents.state.State` has those.

    Args:
        capacity: slots of the node, in milli-units / bytes.
        past: the last phase of each kernel that was told before the agent's start, oldest first (from the journal).
        pool: the node's accelerators; replaced in `attempts` when they change.
    """

    def __init__(
        self, capacity: Mapping[str, int], past: Iterable[KernelPhase] = (), pool: Pool | None = None
    ) -> None:
        self.attempts = Attempts(capacity, past, pool)
        self._out: list[Instruction] = []
        self._now = 0.0

    # What the daemon asks

    def next_deadline(self) -> float | None:
        """When a `Tick` is due."""
        return min((a.deadline for a in self.attempts if a.deadline is not None), default=None)

    def reports(self) -> tuple[KernelReport, ...]:
        """All kernels whose processes may live, or are about to, for `Hello`.

        Half-made ones are left out: to the manager they are missing, and it sends their command again.
        """
        return tuple(
            KernelReport(
                kernel=a.ref[0],
                generation=a.ref[1],
                session=a.session,
                phase=a.told or "PULLING",
                container=a.container,
                slots=dict(a.slots),
                devices={slot: dict(held) for slot, held in a.devices.items()},
            )
            for a in self.attempts
            if not a.over and a.step is not Step.HALF
        )

    def running(self) -> list[str]:
        """Kernels to sample."""
        return [a.ref[0] for a in self.attempts if a.step in (Step.WATCH, Step.STOP)]

    # What the rules use

    def _new(self, ref: Ref, session: str, step: Step) -> Attempt:
        before = self.attempts.told_before(ref)
        attempt = Attempt(ref, session, step, told=before.phase if before else None)
        if before and before.phase == "TERMINATING":
            # Its end was asked for, or it had failed, before the agent was restarted: that stands.
            attempt.outcome = (
                Outcome("ERROR", before.code, before.message)
                if before.code
                else Outcome("TERMINATED", "REQUESTED", "Terminated as requested.")
            )
        self.attempts.add(attempt)
        return attempt

    def _do(self, *instructions: Instruction) -> None:
        self._out.extend(instructions)

    def _tell(self, attempt: Attempt, phase: Phase, why: Outcome | None = None) -> None:
        if attempt.told is None or ORDER.index(attempt.told) < ORDER.index(phase):
            attempt.told = phase
            body = KernelPhase(*attempt.ref, attempt.session, phase, container=attempt.container)
            if why:
                body = msgspec.structs.replace(body, code=why.code, message=why.message)
            self._do(Emit(body))

    def _at(self, ref: Ref, step: Step) -> Attempt | None:
        """The attempt, if it is still at this step: results of what was given up come late and mean nothing."""
        attempt = self.attempts.get(ref)
        return attempt if attempt and attempt.step is step and not attempt.pausing else None

    def _conclude(self, attempt: Attempt) -> None:
        outcome = attempt.outcome or Outcome("TERMINATED", "REQUESTED", "Terminated as requested.")
        if attempt.told == outcome.phase:
            return
        attempt.told = outcome.phase
        body = KernelPhase(
            kernel=attempt.ref[0],
            generation=attempt.ref[1],
            session=attempt.session,
            phase=outcome.phase,
            code=outcome.code,
            message=outcome.message,
            exit_code=outcome.exit_code,
            container=attempt.container,
        )
        self.attempts.remember(body)
        self._do(Emit(body))
