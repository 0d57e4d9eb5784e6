"""The messages between a manager and an agent: MessagePack frames on one websocket that the agent dials.

    agent                                                manager
      │  GET /agents/link   Authorization: Bearer agt_….SECRET  │
      │  Sec-WebSocket-Protocol: berth-link.1                   │
      ├── Hello ───────────────────────────────────────────────▶│  what I am, what I run, which events I still hold
      │◀─────────────────────────────────────────────── Welcome ┤  fencing epoch, last event seen, what must not be there
      ├── Event(seq) ──────────────────────────────────────────▶│  numbered, journalled, replayed until acknowledged
      │◀──────────────────────────────────────────────── Ack(seq)┤
      ├── Heartbeat, Stats, PullProgress, Resources ───────────▶│  fresh or not at all: never queued, never replayed
      │◀─── CreateKernel, DestroyKernel, PullImage, OpenStream ─┤  each with a request number and a deadline
      ├── Reply(request) ──────────────────────────────────────▶│

Byte streams (terminals, app traffic, logs) do not share this link: `OpenStream` hands the agent a one-time token and
the agent dials `/agents/streams/TOKEN`, so each stream has TCP's own flow control.

Commands are idempotent: the same command for the same kernel and generation may arrive any number of times. A kernel's
generation rises with each attempt to run it; both ends refuse what belongs to an older one.

Unknown fields of a message are ignored, so that a newer peer may add some; a peer of another `PROTOCOL` is refused at
the handshake with what would be right.
"""

from typing import Literal, TypeVar

import msgspec

PROTOCOL = 1
SUBPROTOCOL = "berth-link.1"
STREAM_SUBPROTOCOL = "berth-stream.1"

#: No frame is longer than this (bytes); a longer one ends the connection with close code 1009.
MAX_FRAME = 4 * 1024 * 1024
#: An agent sends at most this many events that are not acknowledged yet.
EVENT_WINDOW = 32
#: A kernel's log kept after its end is at most this long (bytes, the newest kept).
MAX_KEPT_LOG = 1024 * 1024

# Websocket close codes of our own (RFC 6455 §7.4.2 leaves 4000–4999 to applications).
CLOSE_BAD_CREDENTIAL = 4401
CLOSE_PROTOCOL = 4406
CLOSE_MALFORMED = 4400
CLOSE_SUPERSEDED = 4409
CLOSE_REMOVED = 4410
CLOSE_NO_STREAM = 4404
#: These end one connection only; the agent dials again and replays from what was acknowledged.
CLOSE_SILENT = 4408
CLOSE_GAP = 4411
CLOSE_FLOOD = 4429

T = TypeVar("T")

Phase = Literal["PULLING", "PREPARED", "CREATING", "RUNNING", "TERMINATING", "TERMINATED", "ERROR"]


class Message(msgspec.Struct, tag_field="t", omit_defaults=True, frozen=True):
    """Base of all messages; the tag is the class's name."""


# What both ends talk about


class Mount(msgspec.Struct, frozen=True, omit_defaults=True):
    """A folder of the node shown inside the container. Both paths are absolute."""

    source: str
    target: str
    read_only: bool = False


class ServicePort(msgspec.Struct, frozen=True, omit_defaults=True):
    """An app that the image declares: `name:protocol:port`."""

    name: str
    protocol: str
    port: int


class SlotKind(msgspec.Struct, frozen=True, omit_defaults=True):
    """A kind of resource that an accelerator plug-in gives.

    `count` is counted in milli-units and may be a fraction of a device; `bytes` is measured; `unique` counts whole
    devices (1000 each), of which every one belongs to a single kernel.
    """

    name: str
    type: Literal["count", "bytes", "unique"]
    #: What one of it is, for people: "GPU".
    unit: str = ""
    display_name: str = ""
    description: str = ""
    #: The smallest difference between two amounts.
    step: int = 1


class Device(msgspec.Struct, frozen=True, omit_defaults=True):
    """An accelerator of the node. `id` is unique on the node and the same after a restart (a UUID)."""

    id: str
    plugin: str
    model: str = ""
    #: Bytes of its own memory; 0 where it has none.
    memory: int = 0
    numa_node: int | None = None
    #: False: nothing new is put on it, and `reason` says why; what runs there is left alone.
    healthy: bool = True
    reason: str = ""
    #: Slot name → what the whole device gives of it.
    capacity: dict[str, int] = {}
    #: Slot name → what kernels of this node hold of it now.
    held: dict[str, int] = {}


class DeviceRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a container engine is asked for (Docker's `DeviceRequests`)."""

    driver: str
    ids: tuple[str, ...]
    capabilities: tuple[str, ...]
    #: Device files of the node that it stands for: shown inside where there is no engine.
    nodes: tuple[str, ...] = ()


class Grant(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a kernel is given so that it can use its devices, and no others."""

    environ: dict[str, str] = {}
    mounts: tuple[Mount, ...] = ()
    requests: tuple[DeviceRequest, ...] = ()
    #: Device files of the node that must be there inside, with and without an engine.
    nodes: tuple[str, ...] = ()


class Cluster(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a kernel has to know of the others of its session."""

    #: Of all its kernels, in the order of their ranks.
    hosts: tuple[str, ...]
    #: The network between nodes that it is on; empty: all are on this node.
    network: str = ""
    #: The session's own SSH key, in OpenSSH's formats.
    private_key: str = ""
    public_key: str = ""


class Credentials(msgspec.Struct, frozen=True, omit_defaults=True):
    """As whom an image's registry is asked; empty: nobody in particular. Never written down on a node."""

    username: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r})"


class KernelSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that a node must know to run one kernel."""

    session: str
    session_name: str
    image: str
    architecture: str
    #: Milli-units (cpu 1500 = 1.5 cores); `mem` in bytes.
    slots: dict[str, int]
    hostname: str = "main1"
    #: None: it is the only kernel of its session.
    cluster: Cluster | None = None
    environ: dict[str, str] = {}
    mounts: tuple[Mount, ...] = ()
    services: tuple[ServicePort, ...] = ()
    #: A shell script that runs once in the container after its start; not waited for.
    bootstrap: str | None = None
    #: Batch: the kernel ends with this command. None: the kernel stays until it is terminated.
    command: str | None = None
    #: Shared memory in bytes, part of `mem`.
    shared_memory: int = 64 * 1024 * 1024
    #: `if-not-present`, `always` or `never`.
    pull_policy: Literal["if-not-present", "always", "never"] = "if-not-present"
    #: With which the image is pulled.
    credentials: Credentials = Credentials()
    #: Per-accelerator allocation: slot name → device id → amount in milli-units / bytes. The node chooses where the
    #: manager leaves it empty, and refuses what does not fit.
    devices: dict[str, dict[str, int]] = {}
    #: Slots of which a fraction may be put together from several devices, in equal parts.
    spanning: tuple[str, ...] = ()
    #: Filled in by the node, from its plug-ins; what a manager writes here is of no effect.
    grant: Grant = Grant()
    #: Seconds from the command's arrival until each phase has failed.
    pull_timeout: float = 1800.0
    create_timeout: float = 120.0


class KernelReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the agent has of one kernel: from its runtime (labels), not from memory."""

    kernel: str
    generation: int
    session: str
    phase: Phase
    container: str = ""
    slots: dict[str, int] = {}
    #: Slot name → device id → amount.
    devices: dict[str, dict[str, int]] = {}
    exit_code: int | None = None
    reason: str = ""


class ImageInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """An image on a node. `digest` is the engine's image id (sha256:…) when it was never pushed or pulled."""

    reference: str
    digest: str
    architecture: str
    #: Bytes on the node's disk.
    size: int
    labels: dict[str, str] = {}


class Hardware(msgspec.Struct, frozen=True, omit_defaults=True):
    """The node as its admin sees it; sizes in bytes."""

    hostname: str = ""
    os: str = ""
    kernel: str = ""
    cpu_model: str = ""
    cpu_count: int = 0
    memory: int = 0
    disk: int = 0
    engine: str = ""


class Swarm(msgspec.Struct, frozen=True, omit_defaults=True):
    """The Docker Swarm that the node's engine is in: with the others of it, it can have a network."""

    #: Ids of the swarm's nodes that manage it, as far as this one knows: two that know a common one are in one swarm.
    managers: tuple[str, ...]
    #: It manages the swarm itself, so it can make networks.
    control: bool = False


class DeviceStats(msgspec.Struct, frozen=True, omit_defaults=True):
    """Load of one accelerator. `utilisation`: percent of the time in which it worked."""

    id: str
    utilisation: float = 0.0
    memory_used: int = 0
    memory_total: int = 0
    #: Degrees Celsius, watts; None where it does not say.
    temperature: float | None = None
    power: float | None = None


class DeviceUse(msgspec.Struct, frozen=True, omit_defaults=True):
    """A kernel's part in the load of one device. `utilisation`: percent of what it was given, None where unknown."""

    device: str
    slot: str
    amount: int
    utilisation: float | None = None
    memory_used: int = 0
    #: What it may use; 0: the plug-in sets no limit.
    memory_limit: int = 0


class NodeStats(msgspec.Struct, frozen=True, omit_defaults=True):
    """Load of the whole node. Percentages are of one core (200 = two cores busy); sizes in bytes."""

    cpu_percent: float = 0.0
    memory_used: int = 0
    memory_total: int = 0
    disk_used: int = 0
    disk_total: int = 0
    devices: tuple[DeviceStats, ...] = ()


class KernelStats(msgspec.Struct, frozen=True, omit_defaults=True):
    """Load of one kernel. Counters (`*_bytes`) grow monotonically while the kernel lives; cpu is % of one core."""

    kernel: str
    cpu_percent: float = 0.0
    #: CPU time used since the start, milliseconds.
    cpu_milliseconds: int = 0
    memory_bytes: int = 0
    memory_limit_bytes: int = 0
    block_read_bytes: int = 0
    block_write_bytes: int = 0
    network_received_bytes: int = 0
    network_sent_bytes: int = 0
    home_bytes: int = 0
    processes: int = 0
    #: Accelerator utilisation by slot name, percent of what is allocated; absent where it is not known.
    accelerators: dict[str, float] = {}
    devices: tuple[DeviceUse, ...] = ()


# Agent → manager


class Hello(Message, frozen=True, tag="hello"):
    """The first frame of the agent, once a connection."""

    protocol: int
    version: str
    #: New with each start of the agent's process.
    boot: str
    runtime: str
    architecture: str
    #: Capacity, in milli-units / bytes.
    slots: dict[str, int]
    hardware: Hardware
    kernels: tuple[KernelReport, ...]
    images: tuple[ImageInfo, ...]
    #: Numbers of the oldest event still held and of the newest ever made (0: none).
    oldest_seq: int = 0
    newest_seq: int = 0
    #: Identity of the event journal: another one restarts the numbers at 1.
    journal: str = ""
    address: str = ""
    region: str = ""
    #: False where kernels are not safe from each other.
    isolated: bool = True
    #: What the node's accelerator plug-ins give, their devices, and what is wrong with a plug-in (name → sentence).
    slot_kinds: tuple[SlotKind, ...] = ()
    devices: tuple[Device, ...] = ()
    faults: dict[str, str] = {}
    #: None: its engine is in none, or the runtime has no engine.
    swarm: Swarm | None = None


class Resources(Message, frozen=True, tag="resources"):
    """What the node has, whenever that has changed since `Hello`: a device failed or came back, was given or given back.

    Capacity is never less than what kernels hold. Only the newest counts: it is not queued, and `Hello` tells it anew.
    """

    slots: dict[str, int]
    devices: tuple[Device, ...] = ()
    faults: dict[str, str] = {}


class Heartbeat(Message, frozen=True, tag="heartbeat"):
    """Renews the lease."""

    at: float


class Stats(Message, frozen=True, tag="stats"):
    """All samples of the node at one moment (`at`: Unix seconds)."""

    at: float
    node: NodeStats
    kernels: tuple[KernelStats, ...]


class PullProgress(Message, frozen=True, tag="pull"):
    """Bytes of an image that have arrived; `total` is 0 while unknown."""

    image: str
    current: int
    total: int
    kernels: tuple[str, ...] = ()


class KernelPhase(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="t", tag="phase"):
    """A kernel has reached a phase."""

    kernel: str
    generation: int
    session: str
    phase: Phase
    #: For ERROR and TERMINATED: a stable code (`PULL_FAILED`, `OOM_KILLED`, `EXITED`, `REQUESTED` …) …
    code: str = ""
    #: … and a sentence that a person understands.
    message: str = ""
    exit_code: int | None = None
    container: str = ""


class KernelLog(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="t", tag="log"):
    """The kept log of a kernel that has ended (at most `MAX_KEPT_LOG` bytes before compression; zlib)."""

    kernel: str
    generation: int
    data: bytes
    #: Bytes of the whole log, of which `data` may be the tail.
    size: int


class ImagesChanged(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="t", tag="images"):
    """All images of the node, after one came or went."""

    images: tuple[ImageInfo, ...]


class Event(Message, frozen=True, tag="event"):
    """Something that must not be lost: kept in the agent's journal until acknowledged. `at`: Unix seconds."""

    seq: int
    at: float
    body: KernelPhase | KernelLog | ImagesChanged


class Reply(Message, frozen=True, tag="reply"):
    """The answer to a command. `error` is empty on success; codes are UPPER_SNAKE."""

    request: int
    error: str = ""
    message: str = ""
    result: dict[str, str] = {}


ToManager = Hello | Heartbeat | Stats | PullProgress | Resources | Event | Reply


# Manager → agent


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

_encoder = msgspec.msgpack.Encoder()
_to_manager = msgspec.msgpack.Decoder(ToManager)
_to_agent = msgspec.msgpack.Decoder(ToAgent)


class MalformedFrame(ValueError):
    """A frame is too long, not MessagePack, or not a message of this protocol."""


def encode(message: ToManager | ToAgent) -> bytes:
    return _encoder.encode(message)


def decode_to_manager(frame: bytes) -> ToManager:
    """Read a frame that an agent sent.

    Raises:
        MalformedFrame: with what is wrong and where; never anything else, whatever the bytes are.
    """
    return _decode(_to_manager, frame)


def decode_to_agent(frame: bytes) -> ToAgent:
    """Read a frame that the manager sent. Raises as `decode_to_manager`."""
    return _decode(_to_agent, frame)


def _decode(decoder: "msgspec.msgpack.Decoder[T]", frame: bytes) -> T:
    if len(frame) > MAX_FRAME:
        raise MalformedFrame(f"frame of {len(frame)} bytes; at most {MAX_FRAME} are allowed")
    try:
        return decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise MalformedFrame(str(error)) from error
