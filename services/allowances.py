"""Which images may be used where: an image's registry, if it is known here, must be allowed for the domain or the group.

A registry governs the images whose references begin with its host name, whether they were pulled from it or built on a
node under that name. Images of a host that is no registry here are local: a node has them because its administrator put
them there, and everybody may use them.
"""

from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.db.tables import Group, Image, Registry, RegistryGrant


def usable(grantee_ids: Collection[str]) -> ColumnElement[bool]:
    """Images whose registry lets one of these domains and groups use them."""
    return _governed_well(RegistryGrant.grantee_id.in_(grantee_ids))


def usable_in(group_id: str) -> ColumnElement[bool]:
    """Images whose registry lets this group or its domain use them."""
    domain = select(Group.domain_id).where(Group.id == group_id).scalar_subquery()
    return _governed_well(or_(RegistryGrant.grantee_id == group_id, RegistryGrant.grantee_id == domain))


def _governed_well(by: ColumnElement[bool]) -> ColumnElement[bool]:
    governed = select(Registry.id).where(Registry.hostname == Image.registry_host)
    granted = governed.join(RegistryGrant, RegistryGrant.registry_id == Registry.id).where(
        Registry.active, by
    )
    return or_(~governed.correlate(Image).exists(), granted.correlate(Image).exists())


async def of_hosts(db: AsyncSession, hostnames: Collection[str]) -> dict[str, frozenset[str]]:
    """Host name → whom its registry is allowed for; a host that is missing governs nothing."""
    rows = await db.execute(
        select(Registry.hostname, Registry.active, RegistryGrant.grantee_id)
        .outerjoin(RegistryGrant, RegistryGrant.registry_id == Registry.id)
        .where(Registry.hostname.in_(hostnames))
    )
    found: dict[str, set[str]] = {}
    for hostname, active, grantee_id in rows:
        # Of a registry that is allowed for nobody the join gives nothing.
        found.setdefault(hostname, set()).update([grantee_id] if active and grantee_id else [])
    return {hostname: frozenset(grantees) for hostname, grantees in found.items()}


def allowed(hosts: dict[str, frozenset[str]], hostname: str, grantee_ids: Sequence[str]) -> bool:
    """May one of these domains and groups use images of this host? `hosts`: see `of_hosts`."""
    return hostname not in hosts or not hosts[hostname].isdisjoint(grantee_ids)
