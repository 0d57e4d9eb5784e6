"""Root fields about what is in use."""

import strawberry

from schema import usage as types
from schema.context import Info
from schema.usage import UsageCorrection
from services.scheduling import recounts


@strawberry.type
class UsageMutations:
    @strawberry.field(
        description="Count what is in use anew from live sessions, in one transaction, and say what was wrong."
    )
    async def recalculate_usage(
        self, info: Info, input: types.RecalculateUsageInput
    ) -> types.RecalculateUsagePayload:
        found = await recounts.recalculate(info.context.core, info.context.viewer, dry_run=input.dry_run)
        return types.RecalculateUsagePayload(corrections=[UsageCorrection.of(one) for one in found])
