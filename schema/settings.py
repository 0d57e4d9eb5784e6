"""Settings: what an administrator sets while managers run."""

from datetime import datetime
from enum import Enum
from typing import Any

import strawberry

from schema.context import Info
from schema.fields import said
from schema.scalars import SettingValue
from schema.users import User
from services.settings import State


@strawberry.enum(description="What a setting's value is.")
class SettingKind(Enum):
    BOOLEAN = strawberry.enum_value("BOOLEAN", description="True or false.")
    INTEGER = strawberry.enum_value("INTEGER", description="A whole number between `minimum` and `maximum`.")
    CHOICE = strawberry.enum_value("CHOICE", description="One of `choices`.")
    TEXT = strawberry.enum_value("TEXT", description="A text; on one line, unless it is a page of its own.")
    SECRET = strawberry.enum_value("SECRET", description="A text that is written and never shown.")


@strawberry.enum(description="Settings that belong together on a form.")
class SettingSection(Enum):
    ACCOUNTS = strawberry.enum_value("ACCOUNTS", description="Signing up and logging in.")
    MAIL = strawberry.enum_value("MAIL", description="How mails are sent.")
    SESSIONS = strawberry.enum_value("SESSIONS", description="How sessions start and end.")
    DEFAULTS = strawberry.enum_value(
        "DEFAULTS", description="What new resource groups and policies have that say nothing."
    )
    RECORDS = strawberry.enum_value("RECORDS", description="How long records are kept.")


@strawberry.type(description="A setting: what it is, what it may be, and all that a form about it needs.")
class Setting:
    state: strawberry.Private[State]
    key: str = said("Its name, which never changes.")
    section: SettingSection = said("Where it belongs on a form.")
    kind: SettingKind = said("What its value is.")
    description: str = said("For the administrator: what it does, and what it does not.")
    unit: str | None = said("Of its number, such as `seconds`; null: none.")
    minimum: int | None = said("The least that its number may be; null: it is no number.")
    maximum: int | None = said("The most that its number may be; null: it is no number.")
    choices: list[str] = said("What it may be, where it is a choice.")
    value: SettingValue | None = said("In effect; null for a secret.")
    default: SettingValue | None = said(
        "What it is while nobody has set it: the manager's configuration, else built in; null for a secret."
    )
    is_secret: bool = said("Is it written and never shown?")
    is_set: bool = said("Has somebody set it? Of a secret: is there one?")
    updated_at: datetime | None = said("When it was last set; null: it has its default.")

    @classmethod
    def of(cls, state: State) -> "Setting":
        option = state.option
        return cls(
            state=state,
            key=option.key,
            section=SettingSection(option.section.value),
            kind=SettingKind(option.kind.value),
            description=option.description,
            unit=option.unit or None,
            minimum=option.least,
            maximum=option.most,
            choices=list(option.choices),
            value=_shown(state.value),
            default=_shown(state.default),
            is_secret=option.secret,
            is_set=state.is_set,
            updated_at=state.updated_at,
        )

    @strawberry.field(description="Who set it last; null: it has its default.")
    async def updated_by(self, info: Info) -> User | None:
        return await info.context.find(self.state.updated_by_id) if self.state.updated_by_id else None


@strawberry.input(description="What a setting is to be.")
class SettingInput:
    key: str = said("The setting's.")
    value: SettingValue | None = said("As its kind says; null: back to the default.")


@strawberry.input(description="Settings to change.")
class UpdateSettingsInput:
    settings: list[SettingInput] = said("All of them are changed, or none; at most 100.")


@strawberry.type(description="Settings were changed.")
class UpdateSettingsPayload:
    settings: list[Setting] = said("Those that were named, as they are now.")


def _shown(value: Any) -> SettingValue | None:
    return None if value is None else SettingValue(value)
