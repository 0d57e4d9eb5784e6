"""Usage over time."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Final

import strawberry

from schema.context import Need
from schema.fields import asked, said
from schema.nodes import Node
from schema.scalars import ByteSize
from services.usage import reports
from services.usage.reports import Figures
from services.usage.rollup import SESSIONS

#: Microseconds of a second; of milli-units as well.
_SECOND: Final = 1_000_000
#: A peak or a sum that an answer can have.
_MOST_BYTES: Final = 2**63 - 1


@strawberry.enum(description="By what usage is divided.")
class UsageGrouping(Enum):
    USER = strawberry.enum_value("USER", description="By user.")
    GROUP = strawberry.enum_value("GROUP", description="By group.")
    DOMAIN = strawberry.enum_value("DOMAIN", description="By domain.")
    RESOURCE_GROUP = strawberry.enum_value("RESOURCE_GROUP", description="By resource group.")


@strawberry.enum(description="Points of time that usage is shown for; days and months are those of UTC.")
class UsageResolution(Enum):
    HOUR = strawberry.enum_value(
        "HOUR", description="Hours, at most 744 of them; they are kept for `statisticsRetentionDays`."
    )
    DAY = strawberry.enum_value("DAY", description="Days, at most 400 of them.")
    MONTH = strawberry.enum_value("MONTH", description="Months, at most 240 of them.")


@strawberry.type(description="How much of a slot was given, and for how long.")
class SlotTime:
    name: str = said("The slot.")
    slot_seconds: str = said(
        "Amount times seconds, exactly: two cores for a minute are 120; of `mem` it is bytes times seconds."
    )


@strawberry.type(description="How busy an accelerator was.")
class AcceleratorUse:
    name: str = said("Its slot.")
    utilisation: float = said("Mean load in percent of what was given, while it was known.")


@strawberry.type(
    description="What was measured inside of sessions: from samples of their nodes, so roughly and with gaps."
)
class MeasuredUse:
    seconds: float = said("For so long, added up over containers, samples were taken.")
    cpu_seconds: float = said("Processor time.")
    memory_mean_bytes: ByteSize = said("Mean of a container while it was sampled.")
    memory_peak_bytes: ByteSize = said("The most that a single container had.")
    accelerators: list[AcceleratorUse] = said("Those whose load is known.")
    read_bytes: ByteSize = said("Read from disks.")
    written_bytes: ByteSize = said("Written to disks.")
    received_bytes: ByteSize = said("Received from networks.")
    sent_bytes: ByteSize = said("Sent to networks.")

    @classmethod
    def of(cls, figures: Figures) -> "MeasuredUse":
        amounts = figures.amounts
        seen = amounts["seen"]
        loads = {
            name.partition(":")[2]: (amount, amounts[f"seen:{name.partition(':')[2]}"])
            for name, amount in amounts.items()
            if name.startswith("use:") and name not in ("use:cpu", "use:mem")
        }
        return cls(
            seconds=seen / _SECOND,
            cpu_seconds=amounts["use:cpu"] / _SECOND,
            memory_mean_bytes=_bytes(amounts["use:mem"] // seen if seen else 0),
            memory_peak_bytes=_bytes(figures.peaks.get("use:mem", 0)),
            accelerators=[
                AcceleratorUse(name=name, utilisation=amount / known / 1000)
                for name, (amount, known) in sorted(loads.items())
                if known
            ],
            read_bytes=_bytes(amounts["io:read"]),
            written_bytes=_bytes(amounts["io:written"]),
            received_bytes=_bytes(amounts["net:received"]),
            sent_bytes=_bytes(amounts["net:sent"]),
        )


@strawberry.type(description="What sessions had and used in some time.")
class Usage:
    session_seconds: str = said("Seconds of all sessions together, exactly: those at once, added up.")
    slots: list[SlotTime] = said("What they were given, by slot; it adds up to what their own records say.")
    measured: MeasuredUse = said("What they really used.")

    @classmethod
    def of(cls, figures: Figures) -> "Usage":
        given = {name: amount for name, amount in figures.amounts.items() if is_slot(name)}
        return cls(
            session_seconds=exact(SESSIONS, figures.amounts[SESSIONS]),
            slots=[SlotTime(name=name, slot_seconds=exact(name, given[name])) for name in sorted(given)],
            measured=MeasuredUse.of(figures),
        )


@strawberry.type(description="What was used from one moment to the next.")
class UsagePoint:
    at: datetime = said("Its beginning.")
    usage: Usage = said("What was used.")


@strawberry.type(description="What one of those was used by that usage is divided by; undivided, all of it.")
class UsagePart:
    of_id: strawberry.ID | None = said("Whose usage; null: it is undivided.")
    of: Node | None = asked(
        Need("id", lambda one: str(one.of_id) if one.of_id else None),
        "Whose usage; null: it is undivided, or that is not yours to see.",
    )
    total: Usage = said("In the whole time.")
    points: list[UsagePoint] = said("Over time, each point, the first first; none without a resolution.")

    @classmethod
    def of_part(cls, part: reports.Part) -> "UsagePart":
        return cls(
            of_id=strawberry.ID(part.id) if part.id else None,
            total=Usage.of(part.total),
            points=[UsagePoint(at=at, usage=Usage.of(figures)) for at, figures in part.points],
        )


@strawberry.type(description="Usage in some time.")
class UsageReport:
    begin: datetime = strawberry.field(
        name="from", description="The beginning: the whole hour (day, month) that what was asked for is in."
    )
    end: datetime = strawberry.field(name="to", description="The end, a whole one too.")
    parts: list[UsagePart] = said(
        "Those who had the most of all processors first: at most 100, with a resolution 20."
    )
    write_csv: strawberry.Private[Callable[[], str]]

    @strawberry.field(description="The same as a file, for a spreadsheet: a line for each part and point.")
    def csv(self) -> str:
        return self.write_csv()


def is_slot(measure: str) -> bool:
    return measure != SESSIONS and ":" not in measure and measure != "seen"


def exact(measure: str, amount: int) -> str:
    """Units times seconds of units (or milli-units) times microseconds, as a decimal number."""
    places = 6 if measure in (SESSIONS, "mem") else 9
    text = format(Decimal(amount).scaleb(-places), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _bytes(amount: int) -> ByteSize:
    return ByteSize(min(max(amount, 0), _MOST_BYTES))
