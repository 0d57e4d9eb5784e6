"""Root fields about settings."""

from collections.abc import AsyncGenerator
from typing import Annotated

import strawberry

from schema import settings as types
from schema.context import Info
from schema.settings import Setting, SettingSection
from services import settings

Sections = Annotated[
    list[SettingSection] | None, strawberry.argument(description="Only those of these sections.")
]


@strawberry.type
class SettingQueries:
    @strawberry.field(
        description="All settings, in the order of a form: what each is, may be and does. For superadmins."
    )
    async def settings(self, info: Info, section_in: Sections = None) -> list[Setting]:
        found = [Setting.of(one) for one in await settings.find(info.context.core, info.context.viewer)]
        return [one for one in found if section_in is None or one.section in section_in]


@strawberry.type
class SettingMutations:
    @strawberry.field(
        description="Change settings, all that are named or none; in effect at once, in every manager, without a restart."
    )
    async def update_settings(
        self, info: Info, input: types.UpdateSettingsInput
    ) -> types.UpdateSettingsPayload:
        changes = [settings.Change(one.key, one.value) for one in input.settings]
        found = await settings.change(info.context.core, info.context.viewer, changes)
        return types.UpdateSettingsPayload(settings=[Setting.of(one) for one in found])


@strawberry.type
class SettingSubscriptions:
    @strawberry.subscription(
        description="All settings, then those that are changed, each time they are. For superadmins."
    )
    async def settings_changed(self, info: Info) -> AsyncGenerator[list[Setting]]:
        async for found in settings.watch(info.context.core, info.context.viewer):
            # Each moment stands for itself: nothing loaded before may be shown with it.
            info.context.forget()
            yield [Setting.of(one) for one in found]
