"""What every table is made of."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, LargeBinary, MetaData, String
from sqlalchemy.orm import DeclarativeBase

from services.db.types import Document, UtcDateTime

Slots = dict[str, int]

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def now() -> datetime:
    return datetime.now(UTC)


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy's own form of declaration
        str: String(255),
        int: BigInteger,
        datetime: UtcDateTime,
        bytes: LargeBinary,
        Slots: Document,
        dict[str, str]: Document,
        dict[str, Any]: Document,
        list[str]: Document,
        list[Any]: Document,
    }
