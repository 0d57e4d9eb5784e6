"""What is taken now, and what was used."""

from sqlalchemy import CheckConstraint, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from services.db.tables.base import Base

_OF_USERS = text("user_id != ''")


class UsageTotal(Base):
    """What was used in one hour, day or month (UTC), by whom and where.

    Each amount is there twice: under its user, and with an empty one for all users together. It is `high * 2**32 + low`:
    bytes times microseconds are more than 64 bits can add up. `services/usage/rollup.py` says what the measures are.
    """

    __tablename__ = "usage_totals"
    __table_args__ = (
        Index(
            "ix_usage_totals_period",
            "period",
            "domain_id",
            sqlite_where=_OF_USERS,
            postgresql_where=_OF_USERS,
        ),
        Index(
            "ix_usage_totals_group", "group_id", "period", sqlite_where=_OF_USERS, postgresql_where=_OF_USERS
        ),
    )

    user_id: Mapped[str] = mapped_column(String(30), primary_key=True)
    #: `2026-11-24T08`, `2026-11-24` or `2026-11`.
    period: Mapped[str] = mapped_column(String(13), primary_key=True)
    domain_id: Mapped[str] = mapped_column(String(30), primary_key=True)
    group_id: Mapped[str] = mapped_column(String(30), primary_key=True)
    resource_group_id: Mapped[str] = mapped_column(String(30), primary_key=True)
    measure: Mapped[str] = mapped_column(String(64), primary_key=True)
    high: Mapped[int]
    low: Mapped[int]
    #: The largest single value, for measures that have one.
    peak: Mapped[int]


class KernelMeter(Base):
    """How far a live kernel's own counters are in the usage totals."""

    __tablename__ = "kernel_meters"

    kernel_id: Mapped[str] = mapped_column(String(30), primary_key=True)
    cpu_milliseconds: Mapped[int] = mapped_column(default=0)
    block_read_bytes: Mapped[int] = mapped_column(default=0)
    block_write_bytes: Mapped[int] = mapped_column(default=0)
    network_received_bytes: Mapped[int] = mapped_column(default=0)
    network_sent_bytes: Mapped[int] = mapped_column(default=0)


class Occupancy(Base):
    """What is taken of a scope (an agent, keypair, user, group, resource group or domain, by its id), a slot a row.

    Changed only in the transaction that changes a kernel's status, which keeps the change only if the row, locked by it, does
    not exceed its limit then: so no committed state does, whatever runs concurrently. The pseudo-slot `sessions` counts
    sessions.
    """

    __tablename__ = "occupancies"
    __table_args__ = (
        CheckConstraint("used >= 0", name="used"),
        # A row that is written again finds room beside its former self, so that no index changes.
        {"postgresql_with": {"fillfactor": 50}},
    )

    scope_id: Mapped[str] = mapped_column(String(30), primary_key=True)
    slot: Mapped[str] = mapped_column(String(64), primary_key=True)
    used: Mapped[int] = mapped_column(default=0)
