"""What the manager says to an agent."""

import msgspec

from agents.protocol.values import Credentials, KernelSpec, Message


class KernelRef(msgspec.Struct, frozen=True):
    kernel: str
    generation: int


class Welcome(Message, frozen=True, tag="welcome"):
    """The manager's answer to `Hello`."""

    #: Rises with each connection of this agent; commands of an older connection are void.
    epoch: int
    #: Newest event number that is safe with the manager; everything after it is to be replayed.
    acknowledged: int
    heartbeat_seconds: float
    lease_seconds: float
    stats_seconds: float
    #: Kernels that the agent reported and that must not be (given up, terminated or of an older generation).
    remove: tuple[KernelRef, ...] = ()


class Ack(Message, frozen=True, tag="ack"):
    """Events up to and with `seq` are committed; the agent forgets them."""

    seq: int


class CreateKernel(Message, frozen=True, tag="create"):
    """Bring this kernel to RUNNING. Answered at once; progress comes as events."""

    request: int
    kernel: str
    generation: int
    spec: KernelSpec


class DestroyKernel(Message, frozen=True, tag="destroy"):
    """Bring this kernel to TERMINATED. `grace_seconds`: between SIGTERM and SIGKILL; 0 kills at once."""

    request: int
    kernel: str
    generation: int
    grace_seconds: float = 5.0


class PullImage(Message, frozen=True, tag="pull_image"):
    request: int
    image: str
    credentials: Credentials = Credentials()


class CancelPull(Message, frozen=True, tag="cancel_pull"):
    """Nobody who asked for this image by `PullImage` waits for it any more; kernels that need it still do."""

    request: int
    image: str


class RemoveImage(Message, frozen=True, tag="remove_image"):
    request: int
    image: str


class MakeNetwork(Message, frozen=True, tag="make_network"):
    """Make a network for kernels on several nodes of this one's swarm. One that is there already is success."""

    request: int
    name: str


class RemoveNetwork(Message, frozen=True, tag="remove_network"):
    """Remove it. Absent is success; refused while a kernel is on it."""

    request: int
    name: str


class TerminalTarget(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="t", tag="terminal"):
    """A shell on a PTY. An id that is known attaches again (the kept scrollback comes first), another one starts a shell."""

    kernel: str
    terminal: str
    columns: int = 80
    rows: int = 24


class PortTarget(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="t", tag="port"):
    """A TCP connection to a port inside the kernel. `service` is started first when the image describes how."""

    kernel: str
    port: int
    service: str = ""


class LogTarget(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="t", tag="log"):
    """The kernel's log from `tail` bytes before its end (0: from the beginning), and on while it grows."""

    kernel: str
    tail: int = 0
    follow: bool = True


class OpenStream(Message, frozen=True, tag="stream"):
    """Dial `/agents/streams/TOKEN` and serve the target on it.

    Binary frames carry bytes in both directions; text frames carry JSON control messages: `{"resize": [columns, rows]}`
    to a terminal, `{"eof": true}` in either direction of a port (no more bytes this way), `{"exit": code}` and
    `{"error": "…", "code": "…"}` from the agent as its last frame.
    """

    request: int
    token: str
    target: TerminalTarget | PortTarget | LogTarget


class CloseTerminal(Message, frozen=True, tag="close_terminal"):
    """End a terminal's shell and forget its scrollback."""

    request: int
    kernel: str
    terminal: str


ToAgent = (
    Welcome
    | Ack
    | CreateKernel
    | DestroyKernel
    | PullImage
    | CancelPull
    | RemoveImage
    | MakeNetwork
    | RemoveNetwork
    | OpenStream
    | CloseTerminal
)
