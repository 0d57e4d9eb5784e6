"""Sending what is in the queue: one manager at a time, at least once, less and less often while the server is away.

An attempt is written down before it is made, with the time of the next one; so a manager that dies in the middle costs
that time, and the mail may arrive twice, with the same Message-ID. Another manager takes the duty over when the lease
ends; what the slow one did meanwhile is guarded by the lease's number.
"""

import logging
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from typing import Final

from sqlalchemy import delete, or_, select, update

from services import leases
from services.core import Core
from services.db.tables import Mail
from services.mails import queue
from services.mails.templates import Content
from services.mails.transports import MailRefused, Transport
from services.options import MAIL_SENDER

log = logging.getLogger(__name__)

DUTY: Final = "mail"
#: Longer than a delivery may take.
_LEASE: Final = timedelta(seconds=60)
#: Pauses after each failed attempt; then the last one again and again, until nobody wants the mail any more.
BACK_OFF: Final = tuple(timedelta(seconds=seconds) for seconds in (10, 30, 60, 300, 900, 3600))
_AT_ONCE: Final = 20
#: What was sent, and what failed, can be seen for so long.
_KEPT: Final = timedelta(days=30)


class Sender:
    """The duty of sending."""

    def __init__(self, core: Core, transport: Transport) -> None:
        self._core = core
        self._transport = transport

    async def run(self) -> int:
        """One round. Returns how many mails were sent; those that are not due, or another manager's, wait.

        A server that does not answer ends the round: each further mail would only find out the same.
        """
        sent = 0
        for mail_id in await self._due():
            fence = await leases.acquire(self._core, DUTY, _LEASE)
            mail = None if fence is None else await self._claim(mail_id, fence)
            if mail is None:
                continue
            if not await self._deliver(mail):
                break
            sent += 1
        return sent

    async def _due(self) -> list[str]:
        now = self._core.now()
        async with self._core.db.read() as db:
            due = select(Mail.id).where(Mail.status == "QUEUED", Mail.next_at <= now)
            return list(await db.scalars(due.order_by(Mail.next_at, Mail.id).limit(_AT_ONCE)))

    async def _claim(self, mail_id: str, fence: int) -> Mail | None:
        """Count an attempt before it is made; None when the mail, or the duty, is not this manager's any more."""
        core = self._core
        async with core.db.write() as db:
            if not await leases.holds(core, db, DUTY, fence):
                return None
            mail = await db.scalar(
                select(Mail)
                .where(Mail.id == mail_id, Mail.status == "QUEUED", Mail.next_at <= core.now())
                .with_for_update()
            )
            if mail is None:
                return None
            if mail.expires_at <= core.now():
                mail.status, mail.content = "FAILED", None
                mail.last_error = mail.last_error or "Nobody sent it before the link in it became void."
                return None
            mail.next_at = core.now() + BACK_OFF[min(mail.attempts, len(BACK_OFF) - 1)]
            mail.attempts += 1
        return mail

    async def _deliver(self, mail: Mail) -> bool:
        """Send it and write down what came of it; False when the server cannot be used."""
        content = queue.read(self._core, mail)
        if content is None:
            return True
        try:
            await self._transport.send(mail.id, compose(mail, content, self._core.options.value(MAIL_SENDER)))
        except MailRefused as error:
            log.warning("the mail server refuses the mail %s: %s", mail.id, error)
            await self._settle(mail, status="FAILED", last_error=_line(error))
            return True
        except Exception as error:
            log.warning(
                "the mail %s could not be sent; the next attempt is at %s: %s", mail.id, mail.next_at, error
            )
            await self._settle(mail, last_error=_line(error))
            return False
        await self._settle(mail, status="SENT", content=None, last_error="", sent_at=self._core.now())
        return True

    async def _settle(self, mail: Mail, **values: str | datetime | None) -> None:
        async with self._core.db.write() as db:
            await db.execute(
                update(Mail)
                .where(Mail.id == mail.id, Mail.status == "QUEUED", Mail.attempts == mail.attempts)
                .values(**values)
            )


def compose(mail: Mail, content: Content, sender: str) -> EmailMessage:
    """The message (RFC 5322), the same however often it is made."""
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = mail.recipient
    message["Subject"] = content.subject
    message["Date"] = format_datetime(mail.created_at)
    message["Message-ID"] = f"<{mail.id}@{parseaddr(sender)[1].partition('@')[2] or 'localhost'}>"
    # Nobody's holiday note answers it (RFC 3834).
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(content.text)
    message.add_alternative(content.html, subtype="html")
    return message


async def purge(core: Core) -> None:
    """Forget mails that nobody asks for any more."""
    async with core.db.write() as db:
        old = core.now() - _KEPT
        await db.execute(
            delete(Mail).where(Mail.created_at < old, or_(Mail.status != "QUEUED", Mail.expires_at < old))
        )


def _line(error: BaseException) -> str:
    """What went wrong, on one line, without what no database keeps."""
    said = f"{type(error).__name__}: {error}" if not isinstance(error, MailRefused) else str(error)
    return "".join(one if one.isprintable() else " " for one in said)[:500]
