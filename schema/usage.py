"""Recalculating what is in use."""

import strawberry

from schema.context import Need
from schema.fields import asked, said
from schema.nodes import Node
from services import slots
from services.scheduling import recounts


@strawberry.type(description="An account of usage that was wrong.")
class UsageCorrection:
    scope_id: strawberry.ID = said("Whose account: an agent, or whom a limit is for.")
    scope: Node | None = asked(Need("id", lambda one: str(one.scope_id)), "Whose; null when that is gone.")
    slot: str = said("The slot, or `sessions`: how many at once.")
    before: str = said("What was recorded.")
    after: str = said("What live sessions really occupy.")

    @classmethod
    def of(cls, found: recounts.Correction) -> "UsageCorrection":
        return cls(
            scope_id=strawberry.ID(found.scope_id),
            slot=found.slot,
            before=slots.render(found.slot, found.before),
            after=slots.render(found.slot, found.after),
        )


@strawberry.input(description="How to recalculate usage.")
class RecalculateUsageInput:
    dry_run: bool = said("Only say what would be corrected.", default=False)


@strawberry.type(description="Usage was counted anew from what runs.")
class RecalculateUsagePayload:
    corrections: list[UsageCorrection] = said("One for each account that was wrong; none: all were right.")
