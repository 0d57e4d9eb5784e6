"""The root fields about usage over time, and what there is just now."""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import strawberry

from schema.context import Info
from schema.scalars import write_moment
from schema.summaries import Summary
from schema.usage_reports import UsageGrouping, UsagePart, UsageReport, UsageResolution, exact, is_slot
from services import summaries
from services.errors import NotFound
from services.usage import reports
from services.usage.reports import Ask, Figures, Report
from services.usage.rollup import SESSIONS

From = Annotated[
    datetime | None,
    strawberry.argument(
        name="from", description="The beginning, whose hour counts whole; by default a week before the end."
    ),
]
To = Annotated[
    datetime | None,
    strawberry.argument(name="to", description="The end, whose hour counts whole; by default now."),
]
ScopeId = Annotated[
    strawberry.ID | None,
    strawberry.argument(
        description="A user, group, domain or resource group; within it you see your own usage, an administrator that of "
        "the domain. By default all that you may see."
    ),
]
GroupBy = Annotated[
    UsageGrouping | None, strawberry.argument(description="Divide it; by default it is one part.")
]
Resolution = Annotated[
    UsageResolution | None, strawberry.argument(description="Show it over time; by default only the total.")
]
Timezone = Annotated[
    str,
    strawberry.argument(
        description="Whose days and months, by the name in the IANA database, such as `Asia/Seoul`: one whose days begin with "
        "an hour of UTC. For others than UTC the hours must still be kept."
    ),
]
_WEEK: Final = timedelta(days=7)
#: A cell that begins with one of these is a formula to a spreadsheet (CWE-1236).
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
#: Heading → measure, and how many of its units one is.
_MEASURED: Final = {
    "measured_seconds": ("seen", 1_000_000),
    "used_cpu_seconds": ("use:cpu", 1_000_000),
    "used_mem_byte_seconds": ("use:mem", 1_000_000),
    "read_bytes": ("io:read", 1),
    "written_bytes": ("io:written", 1),
    "received_bytes": ("net:received", 1),
    "sent_bytes": ("net:sent", 1),
}


@strawberry.type
class UsageReportQueries:
    @strawberry.field(description="What was used in some time: by whom, and over time.")
    async def usage_report(
        self,
        info: Info,
        begin: From = None,
        end: To = None,
        scope_id: ScopeId = None,
        group_by: GroupBy = None,
        resolution: Resolution = None,
        timezone: Timezone = "UTC",
    ) -> UsageReport:
        context = info.context
        viewer = context.viewer
        if scope_id is not None and await context.find(str(scope_id)) is None:
            raise NotFound("There is no such object, or it is not yours to see.", path="scopeId")
        end = end or context.core.now()
        found = await reports.report(
            context.core,
            viewer,
            Ask(
                begin or end - _WEEK,
                end,
                str(scope_id) if scope_id else None,
                group_by.name if group_by else None,
                resolution.name if resolution else None,
                timezone,
            ),
        )
        things = {part.id: await context.find(part.id) for part in found.parts if part.id}
        return UsageReport(
            begin=found.begin,
            end=found.end,
            parts=[UsagePart.of_part(part) for part in found.parts],
            write_csv=lambda: as_csv(found, {key: _name(thing) for key, thing in things.items()}),
        )

    @strawberry.field(description="What there is just now, in numbers.")
    async def summary(self, info: Info) -> Summary:
        return Summary.of(await summaries.summary(info.context.core, info.context.viewer))


def as_csv(report: Report, names: Mapping[str, str]) -> str:
    """A line for each point of each part; without points one for each part."""
    lines = [
        (part.id, at, figures)
        for part in report.parts
        for at, figures in (part.points or [(report.begin, part.total)])
    ]
    slots = sorted({name for _, _, figures in lines for name in figures.amounts if is_slot(name)})
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(
        [
            "id",
            "name",
            "from",
            "session_seconds",
            *(_heading(slot) for slot in slots),
            *_MEASURED,
            "used_mem_peak_bytes",
        ]
    )
    for key, at, figures in lines:
        writer.writerow([key, _cell(names.get(key, "")), write_moment(at), *_values(figures, slots)])
    return text.getvalue()


def _values(figures: Figures, slots: Sequence[str]) -> list[Any]:
    amounts = figures.amounts
    return [
        exact(SESSIONS, amounts[SESSIONS]),
        *(exact(slot, amounts[slot]) for slot in slots),
        *(amounts[measure] // unit for measure, unit in _MEASURED.values()),
        figures.peaks.get("use:mem", 0),
    ]


def _heading(slot: str) -> str:
    return "mem_byte_seconds" if slot == "mem" else f"{slot}_seconds"


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _name(thing: Any) -> str:
    """What a person calls it: users by their address."""
    return "" if thing is None else getattr(thing, "email", None) or thing.name
