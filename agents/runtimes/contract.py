"""What a runtime must do: the contract between the agent and whatever runs containers.

A runtime is stateless as far as the agent is concerned: what it runs is found again from the runtime itself (labels,
directories) by `recover`, so that a restarted agent forgets nothing. Methods may be called in any order after a
crash; each is idempotent. None of them retries: the state machine decides.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from agents.protocol import Hardware, ImageInfo, KernelReport, KernelSpec, KernelStats, Swarm

#: Called with (bytes so far, bytes in all or 0 while unknown) while an image is pulled.
PullProgressSink = Callable[[int, int], None]


class RuntimeFailure(Exception):
    """A runtime could not do what it was asked.

    Args:
        code: stable and UPPER_SNAKE: `IMAGE_NOT_FOUND`, `PULL_FAILED`, `CREATE_FAILED`, `START_FAILED`, `NO_SPACE`,
            `ENGINE_UNREACHABLE`, `NOT_RUNNING`, `TIMED_OUT`.
        message: a sentence for the person whose session it is, with what to do where something can be done.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Fingerprint:
    """What a node offers through this runtime. `slots` in milli-units, `mem` in bytes."""

    architecture: str
    slots: dict[str, int]
    hardware: Hardware
    #: False where kernels are not safe from each other (process runtime): shown to admins and users.
    isolated: bool = True
    #: The swarm that its engine is in.
    swarm: Swarm | None = None


@dataclass(frozen=True)
class Exit:
    """How a kernel ended. `code` as in the protocol: `EXITED`, `OOM_KILLED`, `KILLED`."""

    exit_code: int | None
    code: str
    message: str


@dataclass(frozen=True)
class KernelLabels:
    """Written on every container so that `recover` needs nothing else."""

    kernel: str
    generation: int
    session: str
    cluster: str = ""
    slots: dict[str, int] = field(default_factory=dict[str, int])


class Terminal(Protocol):
    """A shell on a PTY inside a kernel. One reader at a time."""

    async def read(self) -> bytes:
        """Next bytes of output; b"" when the shell has ended."""
        ...

    async def write(self, data: bytes) -> None: ...

    async def resize(self, columns: int, rows: int) -> None: ...

    async def wait(self) -> int | None:
        """Exit code of the shell, once `read` has returned b"" (None when unknown)."""
        ...

    async def detach(self) -> None:
        """Let go of it without ending the shell, where the runtime can keep it; else end it."""
        ...

    async def close(self) -> None:
        """End the shell."""
        ...


class Duplex(Protocol):
    """A byte connection to a port inside a kernel."""

    async def read(self) -> bytes:
        """Next bytes; b"" at the end."""
        ...

    async def write(self, data: bytes) -> None: ...

    async def write_eof(self) -> None: ...

    async def close(self) -> None: ...


class Runtime(Protocol):
    """Registered by the entry point `berth.runtimes`; the class is called with (`state_dir`: Path, `options`: dict)."""

    name: str

    async def open(self) -> None:
        """Connect to the engine. Called once, first. Raises `RuntimeFailure(ENGINE_UNREACHABLE)`."""
        ...

    async def close(self) -> None:
        """Let go of the engine. Kernels go on."""
        ...

    async def fingerprint(self) -> Fingerprint: ...

    async def images(self) -> Sequence[ImageInfo]:
        """The images of the node that carry the product's labels (or those it stands in for)."""
        ...

    async def pull(
        self, image: str, progress: PullProgressSink, username: str = "", password: str = ""
    ) -> None:
        """Bring an image to the node. May be cancelled."""
        ...

    async def remove_image(self, image: str) -> None: ...

    async def create(self, kernel: str, generation: int, spec: KernelSpec) -> str:
        """Make the container, not started yet, and return its id.

        What an older generation (or an earlier attempt of the same one) left behind is ended first, live processes
        included: at most one live container per kernel, whatever happened before.
        """
        ...

    async def start(self, kernel: str, generation: int) -> None:
        """Start what `create` made. Already running is success."""
        ...

    async def wait(self, kernel: str, generation: int) -> Exit:
        """Return once the kernel's main process has ended. Safe to call again after a restart of the agent."""
        ...

    async def stop(self, kernel: str, generation: int, grace_seconds: float) -> None:
        """SIGTERM, after the grace SIGKILL; returns when no process of it is left. Absent is success."""
        ...

    async def remove(self, kernel: str, generation: int) -> None:
        """Remove the container and its home. Absent is success."""
        ...

    async def recover(self) -> Sequence[KernelReport]:
        """All kernels that this node has, in whatever phase, found from the runtime itself."""
        ...

    async def make_network(self, name: str) -> None:
        """Make a network between nodes (see `Fingerprint.swarm`). One that is there already is success.

        Raises:
            RuntimeFailure: `NETWORK_FAILED`.
        """
        ...

    async def remove_network(self, name: str) -> None:
        """Remove it. Absent is success. Raises `RuntimeFailure(REMOVE_FAILED)` while a kernel is on it."""
        ...

    async def stats(self, kernels: Sequence[str]) -> Sequence[KernelStats]:
        """One sample of each kernel that lives; others are left out."""
        ...

    async def open_terminal(self, kernel: str, terminal: str, columns: int, rows: int) -> Terminal:
        """Start a shell (or return to the kept one of that id)."""
        ...

    async def connect(self, kernel: str, port: int, service: str = "") -> Duplex:
        """Connect to a TCP port inside the kernel, starting the named service first where the image says how."""
        ...

    def logs(self, kernel: str, tail: int, follow: bool) -> AsyncIterator[bytes]:
        """The main process's output: the last `tail` bytes (0: all), then on while it grows if `follow`."""
        ...
