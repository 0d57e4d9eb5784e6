"""What whoever holds the data directory may do without logging in: be let in as an administrator, read the keypair.

Holding it, one could read the database and the secrets as well; nothing here gives more than that.
"""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from agents.hub import Hub
from server import secretsfile
from server.config import Config
from server.paths import credentials_file, write_private
from services import audits, auth
from services.bus import LocalBus
from services.core import Core, Settings
from services.db.engine import open_database
from services.db.tables import User
from services.progress import ProgressBook
from services.stats import StatsBook
from services.trail import Entry


class NoSuchOwner(Exception):
    """There is nobody to be let in. The message says what to do."""


@dataclass(frozen=True)
class Link:
    """A one-time link: whoever opens it chooses the password of `email` and is logged in."""

    email: str
    url: str


@asynccontextmanager
async def opened(config: Config) -> AsyncGenerator[Core]:
    """The database and the keys of a data directory, also while a manager runs on them.

    Raises:
        NoSuchOwner: no manager has ever run on it.
    """
    if not (config.data_dir / "secrets.json").exists():
        raise NoSuchOwner(
            f"No manager has run with {config.data_dir} yet. Name its directory with --data-dir."
        )
    keys = secretsfile.load(config.data_dir / "secrets.json")
    db, bus = open_database(config.database), LocalBus()
    try:
        yield Core(
            db=db,
            bus=bus,
            hub=Hub(),
            keys=keys,
            stats=StatsBook(bus),
            progress=ProgressBook(bus),
            settings=Settings(public_url=config.url),
            manager_id="local",
        )
    finally:
        await db.close()


async def link(core: Core, email: str = "") -> Link:
    """A link for an administrator; without an address for the oldest one.

    Raises:
        NoSuchOwner: nobody active has this address and the role.
    """
    wanted = select(User).where(User.role == "SUPERADMIN", User.active).order_by(User.id).limit(1)
    if email:
        wanted = wanted.where(User.email == email.strip().lower())
    async with core.db.read() as db:
        owner = await db.scalar(wanted)
    if owner is None:
        raise NoSuchOwner(
            f"No active administrator has the address {email!r}."
            if email
            else "There is no active administrator."
        )
    entry = Entry(at=core.now(), action="berth link", user_agent="berth link", targets=[owner.id])
    async with audits.recording(core, entry):
        ticket = await auth.create_password_ticket(core, owner.id)
    return Link(owner.email, welcome(core.settings.public_url, ticket))


def welcome(url: str, ticket: str) -> str:
    """The address at which a ticket is redeemed. What follows the # is in no log of a server or proxy."""
    return f"{url}/welcome#{ticket}"


def keep_credentials(config: Config, access_key: str, secret_key: str) -> None:
    """Write the first keypair for scripts, for the owner of the data directory alone."""
    content = {"url": config.url, "access_key": access_key, "secret_key": secret_key}
    write_private(credentials_file(config.data_dir), json.dumps(content, indent=2) + "\n")


def refresh_credentials(config: Config) -> None:
    """Note in the credentials file, if it is still there, where the manager serves now."""
    content = _credentials(config)
    if content and content.get("url") != config.url:
        write_private(
            credentials_file(config.data_dir), json.dumps({**content, "url": config.url}, indent=2) + "\n"
        )


def last_url(config: Config) -> str:
    """Where the manager of this data directory served last, as far as is known."""
    return str(_credentials(config).get("url") or config.url)


def _credentials(config: Config) -> dict[str, Any]:
    try:
        content = json.loads(credentials_file(config.data_dir).read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
