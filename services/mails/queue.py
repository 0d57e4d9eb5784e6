"""The queue of mails: written with what they tell, listed for administrators, tried again on request."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import insert, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from services import ids
from services.core import Core
from services.db.tables import Mail, User
from services.errors import Conflict
from services.filters import Conditions, equal
from services.mails import templates
from services.mails.templates import Content
from services.nouns import Noun
from services.outcomes import Outcome, each
from services.permissions import Actor
from services.searches import Search


@dataclass(frozen=True)
class MailFilter:
    status: str | None = None
    #: Part of the recipient's address, or the beginning of an id.
    search: str | None = None


ORDERS: Final = {"CREATED_AT": Mail.id, "NEXT_AT": Mail.next_at}


def _conditions(where: MailFilter) -> Conditions:
    return equal(Mail.status, where.status)


_noun = Noun(Mail, "eml", _conditions, search=Search(Mail, "eml"))
find, page, total, many, get = _noun.find, _noun.page, _noun.total, _noun.many, _noun.get


async def write(
    core: Core,
    db: AsyncSession,
    kind: str,
    to: str,
    language: str,
    *,
    link: str = "",
    life: timedelta = timedelta(days=1),
    if_user: str | None = None,
) -> None:
    """Put a mail into the queue, in the caller's transaction: there is a mail exactly when there is what it tells.

    Args:
        link: path and fragment, from the console's address on.
        life: after it nobody wants the mail any more.
        if_user: written only when there is this user. One statement either way, so that the time tells nobody whether
            there is.
    """
    columns = Mail.__table__.c
    plain = _values(core, kind, to, language, link, life)
    values = {name: literal(value, columns[name].type) for name, value in plain.items()}
    chosen = select(*values.values())
    if if_user is not None:
        chosen = chosen.where(select(User.id).where(User.id == if_user).exists())
    await db.execute(insert(Mail).from_select(list(values), chosen, include_defaults=False))


def make(
    core: Core, kind: str, to: str, language: str, *, link: str = "", life: timedelta = timedelta(days=1)
) -> Mail:
    """The row that `write` would write, for who has many to add to a transaction at once."""
    return Mail(**_values(core, kind, to, language, link, life))


def _values(core: Core, kind: str, to: str, language: str, link: str, life: timedelta) -> dict[str, Any]:
    mail_id, now = ids.new("eml"), core.now()
    site = core.settings.public_url
    content = templates.render(
        kind, language, site=site, link=f"{site}{link}", hours=max(1, round(life.total_seconds() / 3600))
    )
    return {
        "id": mail_id,
        "kind": kind,
        "recipient": to,
        "content": core.keys.seal(msgspec.json.encode(content).decode(), mail_id),
        "status": "QUEUED",
        "attempts": 0,
        "last_error": "",
        "next_at": now,
        "expires_at": now + life,
        "created_at": now,
    }


def read(core: Core, mail: Mail) -> Content | None:
    """What a mail says; None when that was forgotten."""
    if mail.content is None:
        return None
    return msgspec.json.decode(core.keys.unseal(mail.content, mail.id), type=Content)


async def are_delayed(core: Core) -> bool:
    """Does the mail server not take mails just now? Then who waits for one is told so."""
    async with core.db.read() as db:
        found = await db.scalar(
            select(Mail.id).where(Mail.status == "QUEUED", Mail.last_error != "").limit(1)
        )
        return found is not None


async def retry(core: Core, actor: Actor, mail_ids: Sequence[str]) -> list[Outcome[Mail]]:
    """Send mails that failed, or wait, at the next opportunity; each for itself."""
    return await each(mail_ids, lambda one: _retry(core, actor, one))


async def _retry(core: Core, actor: Actor, mail_id: str) -> Mail:
    async with core.db.write() as db:
        mail = await _noun.take(db, actor, mail_id, "retryMails", path="input.ids")
        if mail.content is None:
            raise Conflict(
                "This mail was sent, or the link in it is void. Let its recipient ask for a new one."
            )
        mail.status, mail.next_at, mail.attempts = "QUEUED", core.now(), 0
    return mail
