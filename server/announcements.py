"""What a manager that has just started tells whoever started it: people on the log, a supervisor through a pipe."""

import json
import logging
import os
import secrets
from dataclasses import asdict, dataclass
from datetime import timedelta

from server import owners
from server.config import Config
from server.manager import Manager
from services import agents

log = logging.getLogger(__name__)

#: A local agent that is being started needs no longer.
_TOKEN_LIFE = timedelta(minutes=10)
_WILDCARDS = {
    "0.0.0.0": "127.0.0.1",
    "::": "[::1]",
    "::1": "[::1]",
    "127.0.0.1": "127.0.0.1",
    "localhost": "127.0.0.1",
}  # noqa: S104


@dataclass(frozen=True)
class Announcement:
    """Where it serves, and secrets for whoever holds the other end of the pipe."""

    url: str
    #: For a process on this machine: past any proxy, where that is possible.
    local_url: str
    #: Of the first administrator and its one-time link, empty once an administrator has a password.
    owner_email: str
    owner_link: str
    #: Lets one agent in.
    join_token: str

    @classmethod
    def read(cls, line: bytes) -> "Announcement":
        return cls(**json.loads(line))

    def line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"


async def announce(config: Config, manager: Manager, descriptor: int | None) -> None:
    """Keep the credentials that a first start made, then tell.

    Args:
        descriptor: the supervisor's pipe; closed afterwards. Without one, a first link is logged.
    """
    first = manager.first_run
    if first.secret_key:
        owners.keep_credentials(config, first.access_key, first.secret_key)
    else:
        owners.refresh_credentials(config)
    link = await owners.first_link(manager.core)
    log.info("serving %s", config.url)
    if descriptor is None:
        if link:
            log.warning("nobody has a password yet; log in as %s, once: %s", link.email, link.url)
        return
    announcement = Announcement(
        url=config.url,
        local_url=local_url(config),
        owner_email=link.email if link else "",
        owner_link=link.url if link else "",
        join_token=await _join_token(manager),
    )
    with os.fdopen(descriptor, "wb") as pipe:
        pipe.write(announcement.line())


def local_url(config: Config) -> str:
    """Where a process of this machine reaches the manager. With TLS that is where its certificate is good."""
    host = _WILDCARDS.get(config.host)
    return config.url if host is None or config.tls_certificate else f"http://{host}:{config.port}"


async def _join_token(manager: Manager) -> str:
    core, token = manager.core, secrets.token_urlsafe(32)
    async with core.db.write() as db:
        await agents.admit(
            db,
            token,
            manager.first_run.resource_group_id,
            core.now() + _TOKEN_LIFE,
            created_by=None,
            at=core.now(),
        )
    return token
