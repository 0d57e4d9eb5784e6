"""Root fields about announcements."""

from collections.abc import AsyncGenerator

import strawberry

from resolvers.inputs import changed
from resolvers.listings import listing
from schema import announcements as types
from schema.announcements import Announcement
from schema.context import Info
from services import announcements
from services.announcements import AnnouncementChanges, AnnouncementSpec


@strawberry.type
class AnnouncementQueries:
    announcements = listing(
        "announcements",
        announcements.ORDERS,
        of=Announcement,
        filter=types.AnnouncementFilter,
        order=types.AnnouncementOrder,
        description="Announcements: those that are shown now and, to administrators, theirs of any time.",
    )


@strawberry.type
class AnnouncementMutations:
    @strawberry.field(description="Announce something to the users of a domain, or to everybody.")
    async def create_announcement(
        self, info: Info, input: types.CreateAnnouncementInput
    ) -> types.CreateAnnouncementPayload:
        spec = AnnouncementSpec(
            title=input.title,
            text=input.text,
            severity=input.severity.name,
            domain_id=str(input.domain_id) if input.domain_id else None,
            starts_at=input.starts_at,
            ends_at=input.ends_at,
            idempotency_key=input.idempotency_key,
        )
        row = await announcements.create(info.context.core, info.context.viewer, spec)
        return types.CreateAnnouncementPayload(announcement=Announcement.of(row))

    @strawberry.field(description="Change an announcement.")
    async def update_announcement(
        self, info: Info, input: types.UpdateAnnouncementInput
    ) -> types.UpdateAnnouncementPayload:
        changes = AnnouncementChanges(
            title=input.title,
            text=input.text,
            severity=input.severity.name if input.severity else None,
            starts_at=input.starts_at,
            ends_at=changed(input.ends_at),
        )
        row = await announcements.edit(info.context.core, info.context.viewer, str(input.id), changes)
        return types.UpdateAnnouncementPayload(announcement=Announcement.of(row))

    @strawberry.field(description="Delete an announcement.")
    async def delete_announcement(
        self, info: Info, input: types.DeleteAnnouncementInput
    ) -> types.DeleteAnnouncementPayload:
        gone = await announcements.delete(info.context.core, info.context.viewer, str(input.id))
        return types.DeleteAnnouncementPayload(deleted_id=strawberry.ID(gone))


@strawberry.type
class AnnouncementSubscriptions:
    @strawberry.subscription(
        description="Announcements that are shown to you now, the newest first, then all of them again whenever they are others."
    )
    async def announcements_changed(self, info: Info) -> AsyncGenerator[list[Announcement]]:
        async for found in announcements.watch(info.context.core, info.context.viewer):
            info.context.forget()
            yield [Announcement.of(row) for row in found]
