"""What both ends talk about: kernels, devices, images, what a node is and what it uses."""

from typing import Literal

import msgspec

Phase = Literal["PULLING", "PREPARED", "CREATING", "RUNNING", "TERMINATING", "TERMINATED", "ERROR"]


class Message(msgspec.Struct, tag_field="t", omit_defaults=True, frozen=True):
    """Base of all messages; the tag is the class's name."""


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
