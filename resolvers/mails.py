"""Root fields about mails."""

import strawberry

from resolvers.listings import listing
from schema import mails as types
from schema.context import Info
from schema.errors import Problem
from schema.mails import Mail
from services import mails


@strawberry.type
class MailQueries:
    mails = listing(
        "mails",
        mails.ORDERS,
        of=Mail,
        filter=types.MailFilter,
        order=types.MailOrder,
        description="Mails of the last days.",
    )


@strawberry.type
class MailMutations:
    @strawberry.field(description="Try mails again now that failed or wait, each for itself.")
    async def retry_mails(self, info: Info, input: types.MailsInput) -> types.RetryMailsPayload:
        done = await mails.retry(info.context.core, info.context.viewer, [str(one) for one in input.ids])
        results = [
            types.MailResult(
                id=strawberry.ID(outcome.id),
                mail=Mail.of(outcome.row) if outcome.row else None,
                error=Problem.of(outcome.error) if outcome.error else None,
            )
            for outcome in done
        ]
        return types.RetryMailsPayload(results=results)
