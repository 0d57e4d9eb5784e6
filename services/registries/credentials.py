"""As whom registries are asked: for managers that look through them, and for nodes that pull from them."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from agents import protocol
from services.core import Core
from services.db.tables import Registry

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Credentials:
    """Empty: nobody in particular."""

    username: str = ""
    password: str = field(default="", repr=False)

    def on_the_wire(self) -> protocol.Credentials:
        """For a node that pulls."""
        return protocol.Credentials(self.username, self.password)


def of(core: Core, registry: Registry) -> Credentials:
    """
    Raises:
        ValueError: the password was sealed with a key that the secrets file no longer has.
    """
    if registry.password_encrypted is None:
        return Credentials()
    return Credentials(registry.username, core.keys.unseal(registry.password_encrypted, registry.id))


async def of_hosts(core: Core, db: AsyncSession, hostnames: Collection[str]) -> Mapping[str, Credentials]:
    """Host name → as whom its registry is asked; hosts that need nobody are missing."""
    rows = await db.scalars(
        select(Registry).where(
            Registry.hostname.in_(set(hostnames)), Registry.active, Registry.password_encrypted.is_not(None)
        )
    )
    found: dict[str, Credentials] = {}
    for registry in rows:
        try:
            found[registry.hostname] = of(core, registry)
        except ValueError:
            log.exception("the password of registry %s cannot be read; give it anew", registry.hostname)
    return found
