"""Mails: written with what they tell, sent once by whoever has the duty, tried again while the server is away."""

import asyncio
import email
import logging
import socket
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass, replace
from datetime import timedelta
from email.message import Message
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP
from sqlalchemy import select

from services import mails, options
from services.core import Core
from services.db.tables import Mail
from services.errors import Conflict
from services.mails import templates
from services.mails.deliver import BACK_OFF
from tests.factories import Clock, Factories

FROM = "Berth <berth@example.org>"


@pytest.fixture(autouse=True)
def _sender(core: Core) -> None:
    core.options.configured = {options.MAIL_SENDER.key: FROM}


class Inbox:
    """What an SMTP server does with mails: it keeps them, or refuses them."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.refusal = ""

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, to: str, _options: Any) -> str:
        envelope.rcpt_tos.append(to)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        if self.refusal:
            return self.refusal
        self.messages.append(email.message_from_bytes(envelope.content, policy=default))
        return "250 OK"


@dataclass
class MailServer:
    inbox: Inbox
    port: int

    @property
    def transport(self) -> mails.SmtpServer:
        return mails.SmtpServer("127.0.0.1", self.port, "NONE")


@pytest.fixture
async def server() -> AsyncGenerator[MailServer]:
    """A real SMTP server in this process."""
    inbox = Inbox()
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: SMTP(inbox), "127.0.0.1", 0)
    async with listening:
        yield MailServer(inbox, listening.sockets[0].getsockname()[1])


@pytest.fixture
def nobody() -> Generator[mails.SmtpServer]:
    """A port where nobody listens, for as long as the test lasts."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield mails.SmtpServer("127.0.0.1", held.getsockname()[1], "NONE")


async def write(core: Core, to: str = "kim@example.org", language: str = "en", **more: Any) -> None:
    async with core.db.write() as db:
        await mails.write(core, db, "PASSWORD_RESET", to, language, link="/welcome#t0ken", **more)


async def rows(core: Core) -> list[Mail]:
    async with core.db.read() as db:
        return list(await db.scalars(select(Mail).order_by(Mail.id)))


async def test_a_mail_is_sent_once_and_forgets_what_it_said(core: Core, server: MailServer) -> None:
    await write(core)
    (queued,) = await rows(core)
    assert b"t0ken" not in (queued.content or b"")
    sender = mails.Sender(core, server.transport)
    assert [await sender.run(), await sender.run()] == [1, 0]
    (message,) = server.inbox.messages
    (sent,) = await rows(core)
    assert (sent.status, sent.content, sent.attempts) == ("SENT", None, 1)
    assert message["To"] == "kim@example.org"
    assert message["From"] == FROM
    assert message["Message-ID"] == f"<{sent.id}@example.org>"
    bodies = [part.get_content() for part in message.walk() if not part.is_multipart()]  # type: ignore[attr-defined]
    assert [f"{core.settings.public_url}/welcome#t0ken" in body for body in bodies] == [True, True]
    assert "<a href=" in bodies[1]


async def test_a_korean_user_is_written_to_in_korean(core: Core, server: MailServer) -> None:
    await write(core, language="ko")
    await mails.Sender(core, server.transport).run()
    assert server.inbox.messages[0]["Subject"] == "Berth 비밀번호 재설정"
    text = server.inbox.messages[0].get_body(("plain",)).get_content()  # type: ignore[attr-defined]
    assert "24시간" in text


def test_every_mail_exists_in_every_language_and_has_nothing_left_to_fill_in() -> None:
    for kind, said in templates.KINDS.items():
        assert set(said) == set(mails.LANGUAGES), kind
        for language in [*said, "xx"]:
            content = templates.render(kind, language, site="https://a&b", link="https://a&b/<x>#t", hours=3)
            assert "{" not in content.text + content.html
            assert "a&b" not in content.html.replace("a&amp;b", "")
            assert "<x>" not in content.html


async def test_a_mail_is_there_exactly_when_its_transaction_is(core: Core) -> None:
    async def fail() -> None:
        async with core.db.write() as db:
            await mails.write(core, db, "PASSWORD_RESET", "kim@example.org", "en")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert await rows(core) == []


async def test_a_server_that_is_away_gets_the_mail_when_it_is_back(
    core: Core, clock: Clock, server: MailServer, nobody: mails.SmtpServer
) -> None:
    await write(core, life=timedelta(hours=3))
    assert not await mails.are_delayed(core)
    down = mails.Sender(core, nobody)
    for pause in BACK_OFF[:3]:
        assert await down.run() == 0
        (waits,) = await rows(core)
        assert (waits.status, waits.next_at) == ("QUEUED", clock.now() + pause)
        assert "Connect" in waits.last_error
        assert await mails.are_delayed(core)
        attempts = waits.attempts
        assert await down.run() == 0
        assert (await rows(core))[0].attempts == attempts
        clock.advance(pause)
    assert await mails.Sender(core, server.transport).run() == 1
    assert not await mails.are_delayed(core)
    assert len(server.inbox.messages) == 1


async def test_a_server_that_is_away_is_asked_once_a_round(core: Core, nobody: mails.SmtpServer) -> None:
    for number in range(3):
        await write(core, to=f"u{number}@example.org")
    await mails.Sender(core, nobody).run()
    assert sorted(mail.attempts for mail in await rows(core)) == [0, 0, 1]


async def test_what_is_refused_for_ever_is_not_tried_again_by_itself_and_can_be_by_hand(
    core: Core, make: Factories, server: MailServer
) -> None:
    admin = await make.superadmin()
    await write(core)
    server.inbox.refusal = "550 no such person"
    sender = mails.Sender(core, server.transport)
    assert await sender.run() == 1
    (failed,) = await rows(core)
    assert failed.status == "FAILED"
    assert "no such person" in failed.last_error
    server.inbox.refusal = ""
    assert await sender.run() == 0
    assert [one.error for one in await mails.retry(core, admin, [failed.id])] == [None]
    assert await sender.run() == 1
    assert len(server.inbox.messages) == 1
    (outcome,) = await mails.retry(core, admin, [failed.id])
    assert isinstance(outcome.error, Conflict)


async def test_a_busy_server_is_tried_again(core: Core, clock: Clock, server: MailServer) -> None:
    await write(core)
    server.inbox.refusal = "451 come back later"
    sender = mails.Sender(core, server.transport)
    await sender.run()
    assert [mail.status for mail in await rows(core)] == ["QUEUED"]
    server.inbox.refusal = ""
    clock.advance(BACK_OFF[0])
    assert await sender.run() == 1


async def test_a_mail_whose_link_is_void_is_not_sent(core: Core, clock: Clock, server: MailServer) -> None:
    await write(core, life=timedelta(hours=1))
    clock.advance(timedelta(hours=1))
    await mails.Sender(core, server.transport).run()
    assert [(mail.status, mail.content) for mail in await rows(core)] == [("FAILED", None)]
    assert server.inbox.messages == []


async def test_of_several_managers_one_sends(core: Core, server: MailServer) -> None:
    for number in range(10):
        await write(core, to=f"u{number}@example.org")
    managers = [replace(core, manager_id=f"mgr-{number}") for number in range(4)]
    counts = await asyncio.gather(*(mails.Sender(one, server.transport).run() for one in managers))
    assert sum(counts) == 10
    assert sorted(message["To"] for message in server.inbox.messages) == [
        f"u{n}@example.org" for n in range(10)
    ]


async def test_what_a_manager_died_over_is_sent_by_another_with_the_same_message_id(
    core: Core, clock: Clock, server: MailServer
) -> None:
    class Dies(mails.SmtpServer):
        async def send(self, name: str, message: Any) -> None:
            await super().send(name, message)
            raise asyncio.CancelledError

    await write(core)
    with pytest.raises(asyncio.CancelledError):
        await mails.Sender(core, Dies("127.0.0.1", server.port, "NONE")).run()
    other = mails.Sender(replace(core, manager_id="mgr-other"), server.transport)
    assert await other.run() == 0
    clock.advance(timedelta(seconds=61))
    assert await other.run() == 1
    first, second = server.inbox.messages
    assert first["Message-ID"] == second["Message-ID"]


async def test_without_a_server_mails_become_files_that_only_the_owner_reads(
    core: Core, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await write(core)
    folder = tmp_path / "outbox"
    with caplog.at_level(logging.WARNING):
        assert await mails.Sender(core, mails.Outbox(folder)).run() == 1
    (path,) = folder.iterdir()
    assert path.suffix == ".eml"
    assert (folder.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)
    message = email.message_from_bytes(path.read_bytes(), policy=default)
    assert "/welcome#t0ken" in message.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert str(path) in caplog.text


async def test_where_mails_go_is_a_setting_that_holds_at_once(
    core: Core, server: MailServer, tmp_path: Path
) -> None:
    sender = mails.Sender(core, mails.Configured(core.options, tmp_path / "outbox"))
    await write(core)
    assert await sender.run() == 1
    assert len(list((tmp_path / "outbox").iterdir())) == 1
    there = {options.MAIL_HOST: "127.0.0.1", options.MAIL_PORT: server.port, options.MAIL_SECURITY: "NONE"}
    core.options.replace({option.key: value for option, value in there.items()})
    await write(core)
    assert await sender.run() == 1
    assert (len(list((tmp_path / "outbox").iterdir())), len(server.inbox.messages)) == (1, 1)


async def test_old_mails_are_forgotten_and_waiting_ones_are_not(
    core: Core, make: Factories, clock: Clock
) -> None:
    for status in ("SENT", "FAILED", "QUEUED"):
        await make.mail(status=status, expires_at=clock.now() + timedelta(days=90))
    clock.advance(timedelta(days=31))
    await mails.purge(core)
    assert [mail.status for mail in await rows(core)] == ["QUEUED"]
