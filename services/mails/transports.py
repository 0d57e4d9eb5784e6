"""How a mail leaves: by an SMTP server, or, where none is configured, as a file in an outbox folder."""

import asyncio
import logging
import os
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Final, Protocol

import aiosmtplib

from services import options
from services.options import OptionBook

log = logging.getLogger(__name__)

#: Seconds for each step of a delivery; less than a sender's lease.
TIMEOUT: Final = 15.0


class MailRefused(Exception):
    """The server will not take this mail, however often it is tried."""


class Transport(Protocol):
    async def send(self, name: str, message: EmailMessage) -> None:
        """Hand a mail over. The same may come twice, after a crash: it has the same Message-ID then.

        Args:
            name: of the mail, unique.

        Raises:
            MailRefused: for ever.
            Exception: it may be tried again later.
        """
        ...


@dataclass(frozen=True)
class SmtpServer:
    host: str
    port: int
    #: TLS from the first byte, by STARTTLS, or NONE.
    security: str
    username: str = ""
    password: str = field(default="", repr=False)

    async def send(self, name: str, message: EmailMessage) -> None:
        try:
            await asyncio.wait_for(self._send(message), 2 * TIMEOUT)
        except aiosmtplib.SMTPRecipientsRefused as error:
            refusals = error.recipients
            if all(one.code >= 500 for one in refusals):
                raise MailRefused(refusals[0].message) from error
            raise
        except aiosmtplib.SMTPAuthenticationError:
            # The mail is as good as before; what is wrong is the configuration.
            raise
        except aiosmtplib.SMTPResponseException as error:
            if error.code >= 500 and not isinstance(error, aiosmtplib.SMTPConnectResponseError):
                raise MailRefused(f"{error.code} {error.message}") from error
            raise

    async def _send(self, message: EmailMessage) -> None:
        await aiosmtplib.send(
            message,
            hostname=self.host,
            port=self.port,
            username=self.username or None,
            password=self.password or None,
            use_tls=self.security == "TLS",
            start_tls=self.security == "STARTTLS",
            timeout=TIMEOUT,
        )


@dataclass(frozen=True)
class Configured:
    """What the settings say at the moment: a server, or else the outbox."""

    options: OptionBook
    outbox: Path

    async def send(self, name: str, message: EmailMessage) -> None:
        await self._chosen().send(name, message)

    def _chosen(self) -> "SmtpServer | Outbox":
        value = self.options.value
        if not (host := value(options.MAIL_HOST)):
            return Outbox(self.outbox)
        return SmtpServer(
            host,
            value(options.MAIL_PORT),
            value(options.MAIL_SECURITY),
            value(options.MAIL_USER),
            value(options.MAIL_PASSWORD),
        )


@dataclass(frozen=True)
class Outbox:
    """A folder of .eml files, which only the manager's user reads: there are links in them that let somebody in."""

    folder: Path

    async def send(self, name: str, message: EmailMessage) -> None:
        path = await asyncio.to_thread(self._keep, name, message.as_bytes())
        log.warning("no mail server is set (mailHost); a mail to %s is in %s", message["To"], path)

    def _keep(self, name: str, content: bytes) -> Path:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / f"{name}.eml"
        half = path.with_suffix(".part")
        with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
        half.replace(path)
        return path
