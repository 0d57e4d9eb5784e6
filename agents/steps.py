"""What goes into the node's state machine and what comes out of it: plain data.

A `Ref` names one attempt to run a kernel: (kernel id, generation).
"""

from dataclasses import dataclass

from agents.protocol import (
    CreateKernel,
    DestroyKernel,
    KernelLog,
    KernelPhase,
    KernelReport,
    KernelSpec,
    Welcome,
)
from agents.runtimes.contract import Exit

Ref = tuple[str, int]

# Events


@dataclass(frozen=True)
class Connected:
    """The manager has answered our Hello."""

    welcome: Welcome


@dataclass(frozen=True)
class Recovered:
    """What the runtime has, found from the runtime itself: on the start, and before each Hello."""

    reports: tuple[KernelReport, ...]


@dataclass(frozen=True)
class PullDone:
    ref: Ref


@dataclass(frozen=True)
class PullFailed:
    ref: Ref
    code: str
    message: str


@dataclass(frozen=True)
class Created:
    ref: Ref
    container: str


@dataclass(frozen=True)
class CreateFailed:
    ref: Ref
    code: str
    message: str


@dataclass(frozen=True)
class Started:
    ref: Ref


@dataclass(frozen=True)
class StartFailed:
    ref: Ref
    code: str
    message: str


@dataclass(frozen=True)
class Exited:
    """The main process has ended, by itself or because it was stopped."""

    ref: Ref
    exit: Exit


@dataclass(frozen=True)
class WatchFailed:
    """The runtime cannot say whether it still runs (its engine stopped): watched again, never taken for dead."""

    ref: Ref


@dataclass(frozen=True)
class Stopped:
    """No process of it is left."""

    ref: Ref


@dataclass(frozen=True)
class StopFailed:
    ref: Ref
    message: str


@dataclass(frozen=True)
class LogCollected:
    ref: Ref
    data: bytes
    #: Bytes of the log, at least.
    size: int


@dataclass(frozen=True)
class LogFailed:
    ref: Ref


@dataclass(frozen=True)
class Removed:
    ref: Ref


@dataclass(frozen=True)
class RemoveFailed:
    ref: Ref
    message: str


@dataclass(frozen=True)
class Tick:
    """Time has passed; due when `State.next_deadline` says."""


StateEvent = (
    Connected
    | Recovered
    | CreateKernel
    | DestroyKernel
    | PullDone
    | PullFailed
    | Created
    | CreateFailed
    | Started
    | StartFailed
    | Exited
    | WatchFailed
    | Stopped
    | StopFailed
    | LogCollected
    | LogFailed
    | Removed
    | RemoveFailed
    | Tick
)

# Instructions. Those for one kernel are carried out in order; a new one ends what runs for it.


@dataclass(frozen=True)
class Pull:
    ref: Ref
    spec: KernelSpec


@dataclass(frozen=True)
class Create:
    ref: Ref
    spec: KernelSpec


@dataclass(frozen=True)
class Start:
    ref: Ref


@dataclass(frozen=True)
class Watch:
    """Wait for its end and say `Exited`; goes on beside a `Stop`."""

    ref: Ref


@dataclass(frozen=True)
class Stop:
    ref: Ref
    grace_seconds: float


@dataclass(frozen=True)
class CollectLog:
    ref: Ref


@dataclass(frozen=True)
class Remove:
    ref: Ref


@dataclass(frozen=True)
class Cancel:
    """Give up what runs for it (a pull, a call that hangs); its result is of no interest any more."""

    ref: Ref


@dataclass(frozen=True)
class Emit:
    """Journal this event; before any of the work that was asked for with it is begun."""

    body: KernelPhase | KernelLog


@dataclass(frozen=True)
class Answer:
    """Reply to a command."""

    request: int
    error: str = ""
    message: str = ""


Work = Pull | Create | Start | Watch | Stop | CollectLog | Remove
Instruction = Work | Cancel | Emit | Answer
