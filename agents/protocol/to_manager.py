"""What an agent says to the manager."""

import msgspec

from agents.protocol.values import (
    Device,
    Hardware,
    ImageInfo,
    KernelReport,
    KernelStats,
    Message,
    NodeStats,
    Phase,
    SlotKind,
    Swarm,
)


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
    faults: dict[str, str] = msgspec.field(default_factory=dict)
    #: None: its engine is in none, or the runtime has no engine.
    swarm: Swarm | None = None


class Resources(Message, frozen=True, tag="resources"):
    """What the node has, whenever that has changed since `Hello`: a device failed or came back, was given or given back.

    Capacity is never less than what kernels hold. Only the newest counts: it is not queued, and `Hello` tells it anew.
    """

    slots: dict[str, int]
    devices: tuple[Device, ...] = ()
    faults: dict[str, str] = msgspec.field(default_factory=dict)


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
    result: dict[str, str] = msgspec.field(default_factory=dict)


ToManager = Hello | Heartbeat | Stats | PullProgress | Resources | Event | Reply
