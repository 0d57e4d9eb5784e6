"""Identity providers: who else may say who somebody is, by OpenID Connect. `services/oidc` speaks with them.

They are a noun and not settings, for there may be several. A client secret is sealed and never shown.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from msgspec import UNSET, UnsetType
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_object_session

from services import domains, groups, ids, inputs, permissions
from services.core import Core
from services.db.tables import IdentityProvider
from services.errors import BadInput, NotFound, Problems
from services.filters import Conditions, equal, searched
from services.nouns import Named, amend
from services.permissions import Actor

_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_MOST_DOMAINS: Final = 100
_LONGEST: Final = 255
_CONTROL: Final = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class ProviderFilter:
    active: bool | None = None
    #: Part of the name, title or issuer, or the beginning of an id.
    search: str | None = None


@dataclass(frozen=True)
class ProviderSpec:
    name: str
    issuer: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    title: str = ""
    description: str = ""
    #: Of e-mail addresses; empty: all.
    allowed_email_domains: Sequence[str] = ()
    create_users: bool = False
    #: Where users belong that are created.
    domain_id: str | None = None
    group_id: str | None = None
    active: bool = True
    idempotency_key: str | None = None


@dataclass(frozen=True)
class ProviderChanges:
    """None (where None means something: UNSET): as it is."""

    name: str | None = None
    description: str | None = None
    title: str | None = None
    issuer: str | None = None
    client_id: str | None = None
    client_secret: str | UnsetType | None = field(default=UNSET, repr=False)
    allowed_email_domains: Sequence[str] | None = None
    create_users: bool | None = None
    domain_id: str | None = None
    group_id: str | UnsetType | None = UNSET
    active: bool | None = None


ORDERS: Final = {"NAME": IdentityProvider.name, "CREATED_AT": IdentityProvider.id}


def _conditions(where: ProviderFilter) -> Conditions:
    return [
        *equal(IdentityProvider.active, where.active),
        *searched(
            where.search,
            IdentityProvider.id,
            IdentityProvider.name,
            IdentityProvider.title,
            IdentityProvider.issuer,
            IdentityProvider.description,
        ),
    ]


_noun = Named(IdentityProvider, "idp", _conditions)
page, total, many, get = _noun.page, _noun.total, _noun.many, _noun.get


async def create(core: Core, actor: Actor, spec: ProviderSpec) -> IdentityProvider:
    """Make a provider known.

    Raises:
        BadInput, Forbidden, NotFound, Conflict.
    """
    permissions.require_role(actor, "createIdentityProvider")
    problems = Problems()
    inputs.check_title(spec, problems)
    inputs.check_idempotency_key(spec.idempotency_key, problems)
    _check(spec, problems)
    if spec.create_users and spec.domain_id is None:
        problems.add("input.domainId", "Who creates users says in which domain.")
    problems.check()

    async def make(db: AsyncSession) -> IdentityProvider:
        await _check_place(db, actor, "createIdentityProvider", spec.domain_id, spec.group_id)
        provider_id = ids.new("idp")
        return IdentityProvider(
            id=provider_id,
            name=spec.name,
            title=spec.title.strip() or spec.name,
            description=spec.description,
            issuer=spec.issuer,
            client_id=spec.client_id,
            client_secret_sealed=_sealed(core, provider_id, spec.client_secret),
            allowed_email_domains=[one.lower() for one in spec.allowed_email_domains],
            create_users=spec.create_users,
            domain_id=spec.domain_id,
            group_id=spec.group_id,
            active=spec.active,
            created_at=core.now(),
        )

    return await _noun.create(core, actor, "createIdentityProvider", spec, make)


async def edit(core: Core, actor: Actor, provider_id: str, changes: ProviderChanges) -> IdentityProvider:
    """Change a provider. Who is linked to its issuer stays so.

    Raises:
        BadInput, NotFound, Forbidden, Conflict.
    """
    problems = Problems()
    inputs.check_title(changes, problems)
    _check(changes, problems)
    problems.check()
    async with _noun.change(core, actor, provider_id, "updateIdentityProvider", changes) as row:
        amend(row, changes, "title", "issuer", "client_id", "create_users", "domain_id", "group_id", "active")
        db = async_object_session(row)
        if db is not None and (changes.domain_id is not None or isinstance(changes.group_id, str)):
            with db.no_autoflush:
                await _check_place(db, actor, "updateIdentityProvider", row.domain_id, row.group_id)
        if row.create_users and row.domain_id is None:
            raise BadInput("Who creates users says in which domain.", path="input.domainId")
        if changes.allowed_email_domains is not None:
            row.allowed_email_domains = [one.lower() for one in changes.allowed_email_domains]
        if changes.client_secret is not UNSET:
            row.client_secret_sealed = _sealed(core, row.id, changes.client_secret)
    return row


async def delete(core: Core, actor: Actor, provider_id: str) -> str:
    """Forget a provider. Returns its id. Logins that it opened go on.

    Raises:
        NotFound, Forbidden.
    """
    return (await _noun.delete(core, actor, provider_id, "deleteIdentityProvider")).id


async def offered(core: Core) -> list[IdentityProvider]:
    """Those that anybody may log in by, as buttons in their order."""
    async with core.db.read() as db:
        rows = await db.scalars(
            select(IdentityProvider).where(IdentityProvider.active).order_by(IdentityProvider.name).limit(50)
        )
        return list(rows)


async def find(core: Core, name: str) -> IdentityProvider:
    """One that anybody may log in by.

    Raises:
        NotFound
    """
    found = None
    if inputs.NAME.fullmatch(name):
        async with core.db.read() as db:
            found = await db.scalar(
                select(IdentityProvider).where(IdentityProvider.name == name, IdentityProvider.active)
            )
    if found is None:
        raise NotFound("There is no identity provider of this name here, or it is switched off.")
    return found


def secret_of(core: Core, provider: IdentityProvider) -> str | None:
    sealed = provider.client_secret_sealed
    return None if sealed is None else core.keys.unseal(sealed, provider.id)


def usable_url(text: str) -> bool:
    """TLS, but on the loopback: what goes there opens logins."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    if _CONTROL.search(text) or parts.username is not None or not parts.hostname:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)


def _check(given: ProviderSpec | ProviderChanges, problems: Problems) -> None:
    if given.title is not None:
        inputs.check_person(given.title, problems, "input.title")
    if given.issuer is not None and (
        len(given.issuer) > _LONGEST or not usable_url(given.issuer) or urlsplit(given.issuer).query
    ):
        problems.add("input.issuer", "The issuer's address, which begins with https://.")
    if given.client_id is not None and (
        not 1 <= len(given.client_id) <= _LONGEST or _CONTROL.search(given.client_id)
    ):
        problems.add("input.clientId", f"1 to {_LONGEST} characters, without spaces.")
    secret = given.client_secret
    if isinstance(secret, str) and (not 1 <= len(secret) <= 1024 or _CONTROL.search(secret)):
        problems.add("input.clientSecret", "1 to 1024 characters, without spaces.")
    allowed = given.allowed_email_domains or ()
    if len(allowed) > _MOST_DOMAINS:
        problems.add("input.allowedEmailDomains", f"At most {_MOST_DOMAINS}.")
    for number, one in enumerate(allowed[:_MOST_DOMAINS]):
        if len(one) > _LONGEST or not _HOST.fullmatch(one.lower()):
            problems.add(f"input.allowedEmailDomains.{number}", "A domain, such as example.org.")


async def _check_place(
    db: AsyncSession, actor: Actor, action: str, domain_id: str | None, group_id: str | None
) -> None:
    if domain_id is not None:
        await domains.require(db, actor, domain_id, action)
    if group_id is not None:
        await groups.find_all(db, domain_id or "", [group_id], path="input.groupId")


def _sealed(core: Core, provider_id: str, secret: str | None) -> bytes | None:
    return None if secret is None else core.keys.seal(secret, provider_id)
