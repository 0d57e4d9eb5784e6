"""Resource groups, presets and the agents of their nodes."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from services.db.tables.base import Base, Slots, now
from services.db.types import Document, Serial


class ResourceGroup(Base):
    """Agents that are scheduled together, and how."""

    __tablename__ = "resource_groups"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str] = mapped_column(Text, default="")
    active: Mapped[bool] = mapped_column(default=True)
    #: Most that all live sessions in it may occupy together, whatever its agents have.
    total_slots: Mapped[Slots] = mapped_column(default=dict)
    #: None: unlimited.
    max_concurrent_sessions: Mapped[int | None]
    #: None: as many as the keypair's policy allows.
    max_kernels_per_session: Mapped[int | None]
    sequencer: Mapped[str] = mapped_column(default="fifo")
    sequencer_options: Mapped[dict[str, Any]] = mapped_column(default=dict)
    placer: Mapped[str] = mapped_column(default="pack")
    placer_options: Mapped[dict[str, Any]] = mapped_column(default=dict)
    #: After so long without its node a session is given up; None: it waits until somebody decides.
    lost_session_grace_seconds: Mapped[int | None]
    #: 0: never.
    idle_timeout_seconds: Mapped[int] = mapped_column(default=0)
    #: Load above it is use, in percent of what a kernel was given; 100: such load is no use.
    idle_cpu_percent: Mapped[int] = mapped_column(default=5)
    idle_accelerator_percent: Mapped[int] = mapped_column(default=5)
    #: From its start a session may run for so long; 0: for ever.
    max_lifetime_seconds: Mapped[int] = mapped_column(default=0)
    #: A start that fails for a reason of its node is tried again at most so often.
    start_retries: Mapped[int] = mapped_column(default=2)
    #: The head of the queue gets a reservation, and others may pass it that do not delay it.
    backfill: Mapped[bool] = mapped_column(default=True)
    backfill_options: Mapped[dict[str, Any]] = mapped_column(default=dict)
    #: What the dispatcher last found wrong with a plug-in: {plugin, message, since}; None: nothing.
    scheduler_fault: Mapped[dict[str, Any] | None] = mapped_column(Document)
    created_at: Mapped[datetime] = mapped_column(default=now)


class ResourceGroupGrant(Base):
    """A domain, group or user (by its id, which says what it is) that may use a resource group."""

    __tablename__ = "resource_group_grants"

    resource_group_id: Mapped[str] = mapped_column(ForeignKey("resource_groups.id"), primary_key=True)
    grantee_id: Mapped[str] = mapped_column(String(30), primary_key=True, index=True)


class ResourcePreset(Base):
    """Amounts that sessions often ask for, under a name."""

    __tablename__ = "resource_presets"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str] = mapped_column(Text, default="")
    slots: Mapped[Slots] = mapped_column(default=dict)
    #: Bytes, a part of its memory; None: what sessions have that say nothing.
    shared_memory: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(default=now)


class JoinToken(Base):
    """Lets one new agent in, once."""

    __tablename__ = "join_tokens"

    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    resource_group_id: Mapped[str] = mapped_column(ForeignKey("resource_groups.id"))
    created_by: Mapped[str | None] = mapped_column(String(30))
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    agent_id: Mapped[str | None] = mapped_column(String(30))


class Agent(Base):
    """A worker node."""

    __tablename__ = "agents"
    __table_args__ = (CheckConstraint("status in ('ALIVE', 'LOST', 'TERMINATED')", name="status"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    resource_group_id: Mapped[str] = mapped_column(ForeignKey("resource_groups.id"), index=True)
    status: Mapped[str] = mapped_column(String(16), default="LOST")
    schedulable: Mapped[bool] = mapped_column(default=True)
    credential_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    #: Rises with each connection; commands and leases of an older connection are void.
    epoch: Mapped[int] = mapped_column(default=0)
    #: The manager process that holds its connection.
    manager: Mapped[str] = mapped_column(default="")
    address: Mapped[str] = mapped_column(default="")
    region: Mapped[str] = mapped_column(default="")
    runtime: Mapped[str] = mapped_column(default="")
    isolated: Mapped[bool] = mapped_column(default=True)
    architecture: Mapped[str] = mapped_column(default="")
    version: Mapped[str] = mapped_column(default="")
    hardware: Mapped[dict[str, Any]] = mapped_column(default=dict)
    slots: Mapped[Slots] = mapped_column(default=dict)
    #: Event journal of the agent and the newest number committed here.
    journal: Mapped[str] = mapped_column(default="")
    acknowledged: Mapped[int] = mapped_column(default=0)
    first_contact_at: Mapped[datetime | None]
    last_contact_at: Mapped[datetime | None]
    lease_expires_at: Mapped[datetime | None]
    lost_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)


class AgentEvent(Base):
    """What happened to an agent; its number is the cursor of `agentEvents`."""

    __tablename__ = "agent_events"
    __table_args__ = (Index(None, "agent_id", "id"),)

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    agent_id: Mapped[str] = mapped_column(ForeignKey("agents.id"))
    at: Mapped[datetime] = mapped_column(default=now)
    status: Mapped[str] = mapped_column(String(16))
    code: Mapped[str] = mapped_column(String(64), default="")
    message: Mapped[str] = mapped_column(Text, default="")
