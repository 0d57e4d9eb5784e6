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

from agents.protocol.constants import (
    CLOSE_BAD_CREDENTIAL,
    CLOSE_FLOOD,
    CLOSE_GAP,
    CLOSE_MALFORMED,
    CLOSE_NO_STREAM,
    CLOSE_PROTOCOL,
    CLOSE_REMOVED,
    CLOSE_SILENT,
    CLOSE_SUPERSEDED,
    EVENT_WINDOW,
    MAX_FRAME,
    MAX_KEPT_LOG,
    PROTOCOL,
    STREAM_SUBPROTOCOL,
    SUBPROTOCOL,
)
from agents.protocol.frames import MalformedFrame, decode_to_agent, decode_to_manager, encode
from agents.protocol.to_agent import (
    Ack,
    CancelPull,
    CloseTerminal,
    CreateKernel,
    DestroyKernel,
    KernelRef,
    LogTarget,
    MakeNetwork,
    OpenStream,
    PortTarget,
    PullImage,
    RemoveImage,
    RemoveNetwork,
    TerminalTarget,
    ToAgent,
    Welcome,
)
from agents.protocol.to_manager import (
    Event,
    Heartbeat,
    Hello,
    ImagesChanged,
    KernelLog,
    KernelPhase,
    PullProgress,
    Reply,
    Resources,
    Stats,
    ToManager,
)
from agents.protocol.values import (
    Cluster,
    Credentials,
    Device,
    DeviceRequest,
    DeviceStats,
    DeviceUse,
    Grant,
    Hardware,
    ImageInfo,
    KernelReport,
    KernelSpec,
    KernelStats,
    Message,
    Mount,
    NodeStats,
    Phase,
    ServicePort,
    SlotKind,
    Swarm,
)

__all__ = [
    "CLOSE_BAD_CREDENTIAL",
    "CLOSE_FLOOD",
    "CLOSE_GAP",
    "CLOSE_MALFORMED",
    "CLOSE_NO_STREAM",
    "CLOSE_PROTOCOL",
    "CLOSE_REMOVED",
    "CLOSE_SILENT",
    "CLOSE_SUPERSEDED",
    "EVENT_WINDOW",
    "MAX_FRAME",
    "MAX_KEPT_LOG",
    "PROTOCOL",
    "STREAM_SUBPROTOCOL",
    "SUBPROTOCOL",
    "Ack",
    "CancelPull",
    "CloseTerminal",
    "Cluster",
    "CreateKernel",
    "Credentials",
    "DestroyKernel",
    "Device",
    "DeviceRequest",
    "DeviceStats",
    "DeviceUse",
    "Event",
    "Grant",
    "Hardware",
    "Heartbeat",
    "Hello",
    "ImageInfo",
    "ImagesChanged",
    "KernelLog",
    "KernelPhase",
    "KernelRef",
    "KernelReport",
    "KernelSpec",
    "KernelStats",
    "LogTarget",
    "MakeNetwork",
    "MalformedFrame",
    "Message",
    "Mount",
    "NodeStats",
    "OpenStream",
    "Phase",
    "PortTarget",
    "PullImage",
    "PullProgress",
    "RemoveImage",
    "RemoveNetwork",
    "Reply",
    "Resources",
    "ServicePort",
    "SlotKind",
    "Stats",
    "Swarm",
    "TerminalTarget",
    "ToAgent",
    "ToManager",
    "Welcome",
    "decode_to_agent",
    "decode_to_manager",
    "encode",
]
