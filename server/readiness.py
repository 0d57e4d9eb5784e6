"""What a manager does once it serves: keep what a first start made, and tell whoever started it."""

import logging
import os
import secrets
from datetime import timedelta

from server import owners
from server.announcements import Announcement
from server.config import Config
from server.listening import local_url
from server.manager import Manager
from server.paths import credentials_file
from services import agents

log = logging.getLogger(__name__)

#: A local agent that is being started needs no longer.
_TOKEN_LIFE = timedelta(minutes=10)


async def announce(config: Config, manager: Manager, descriptor: int | None) -> None:
    """Keep the credentials that a first start made, then tell.

    Args:
        descriptor: the supervisor's pipe; closed afterwards. Without one, a first link is logged.
    """
    first = manager.first_run
    # Again as long as nobody has come in: the first start may have ended before it could write them.
    if first.created or (first.ticket and not credentials_file(config.data_dir).exists()):
        owners.keep_credentials(config, first.access_key, first.secret_key)
    else:
        owners.refresh_credentials(config)
    link = owners.welcome(config.url, first.ticket) if first.ticket else ""
    log.info("serving %s", config.url)
    if descriptor is None:
        if link:
            log.warning("nobody has a password yet; log in as %s, once: %s", first.email, link)
        return
    announcement = Announcement(
        url=config.url,
        local_url=local_url(config),
        owner_email=first.email if link else "",
        owner_link=link,
        join_token=await _join_token(manager),
    )
    with os.fdopen(descriptor, "wb") as pipe:
        pipe.write(announcement.line())


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
