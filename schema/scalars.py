"""Scalars of our own."""

from datetime import UTC, datetime
from typing import Any, NewType

from graphql import GraphQLError
from strawberry.types.scalar import ScalarDefinition, scalar

ByteSize = NewType("ByteSize", int)
SettingValue = NewType("SettingValue", object)

_LARGEST = 2**63 - 1


def _parse_byte_size(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise GraphQLError("A ByteSize is a whole number of bytes, as a string or an integer.")
    text = str(value)
    if not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) > _LARGEST:
        raise GraphQLError("A ByteSize is a whole number of bytes from 0 to 9223372036854775807.")
    return int(text)


def _parse_setting(value: Any) -> bool | int | str:
    if not isinstance(value, bool | int | str):
        raise GraphQLError("A SettingValue is a boolean, a whole number or a text.")
    return value


def _parse_moment(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise GraphQLError('A DateTime is written like "2026-11-24T08:00:00Z" (RFC 3339).') from error
    if moment.tzinfo is None:
        raise GraphQLError('A DateTime needs its offset: "2026-11-24T08:00:00Z" (RFC 3339).')
    return moment.astimezone(UTC)


def write_moment(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


SCALARS: dict[object, ScalarDefinition] = {
    ByteSize: scalar(
        name="ByteSize",
        description="A number of bytes, as a string of decimal digits: it may be larger than 2^53.",
        serialize=str,
        parse_value=_parse_byte_size,
    ),
    SettingValue: scalar(
        name="SettingValue",
        description="A setting's value: a boolean, a whole number or a text, as its type says.",
        serialize=_parse_setting,
        parse_value=_parse_setting,
    ),
    datetime: scalar(
        name="DateTime",
        description="A moment as RFC 3339 in UTC, such as 2026-11-24T08:00:00Z.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3339",
        serialize=write_moment,
        parse_value=_parse_moment,
    ),
}
