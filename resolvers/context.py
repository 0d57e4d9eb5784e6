"""The context of one operation: who asks, and batch loaders for everything that a page needs."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import isawaitable
from types import TracebackType
from typing import Any, Final, Self

from resolvers.batches import Batch
from schema.access import Login
from schema.agents import Agent
from schema.announcements import Announcement
from schema.audits import AuditEvent
from schema.context import Info, Need
from schema.domains import Domain
from schema.groups import Group
from schema.identity_providers import Identity, IdentityProvider, LoginProvider
from schema.images import Image
from schema.keypairs import Keypair
from schema.mails import Mail
from schema.paging import Connection
from schema.policies import ResourcePolicy
from schema.presets import ResourcePreset
from schema.registries import Registry
from schema.resource_groups import ResourceGroup
from schema.sessions import Kernel, Session, SessionEventEntry
from schema.signups import Consent, Invitation
from schema.tasks import Task
from schema.users import User
from services import (
    agents,
    announcements,
    audits,
    auth,
    domains,
    groups,
    identities,
    identity_providers,
    ids,
    images,
    invitations,
    keypairs,
    mails,
    nested,
    policies,
    presets,
    registries,
    resource_groups,
    sessions,
    signups,
    subjects,
    tasks,
    users,
)
from services.auth import factors
from services.core import Core
from services.db.tables import Base
from services.errors import NotFound, Unauthenticated
from services.paging import Order, Page, PageArgs, Total
from services.permissions import Actor
from services.scheduling import availability, occupancy

Many = Callable[[Core, Actor, Sequence[str]], Awaitable[dict[str, Any]]]
Each = Callable[[Core, Actor, Sequence[Any]], Awaitable[Mapping[Any, list[Any]]]]


async def _many_logins(core: Core, actor: Actor, keys: Sequence[str]) -> dict[str, Any]:
    return dict(await auth.many_logins(core, actor, list(keys)))


#: Id's prefix → how rows are found, how they are shown.
_LOADS: Final[dict[str, tuple[Many, Any]]] = {
    "dom": (domains.many, Domain),
    "grp": (groups.many, Group),
    "usr": (users.many, User),
    "key": (keypairs.many, Keypair),
    "pol": (policies.many, ResourcePolicy),
    "rgp": (resource_groups.many, ResourceGroup),
    "pre": (presets.many, ResourcePreset),
    "ann": (announcements.many, Announcement),
    "agt": (agents.many, Agent),
    "img": (images.many, Image),
    "reg": (registries.many, Registry),
    "tsk": (tasks.many, Task),
    "ses": (sessions.many, Session),
    "knl": (sessions.many_kernels, Kernel),
    "lgn": (_many_logins, Login),
    "eml": (mails.many, Mail),
    "inv": (invitations.many, Invitation),
    "idp": (identity_providers.many, IdentityProvider),
    "idn": (identities.many, Identity),
    "evt": (audits.many, AuditEvent),
}


@dataclass(frozen=True)
class _List:
    """How a noun is listed."""

    page: Callable[..., Awaitable[Page[Any]]]
    total: Callable[..., Awaitable[Total]]
    where: Any
    of: Any
    #: What a search finds, for both; None: each looks itself.
    find: Callable[..., Awaitable[Any]] | None = None


#: Of what is not there to be listed.
_NO_PAGE: Final = Page[Any](rows=(), cursors=(), has_next=False, has_previous=False)


@dataclass(frozen=True)
class _KernelsOn:
    agent_id: str


async def _page_kernels(
    core: Core, actor: Actor, where: _KernelsOn, _order: Any, args: PageArgs
) -> Page[Any]:
    return await sessions.page_kernels(core, actor, where.agent_id, args)


async def _total_kernels(core: Core, actor: Actor, where: _KernelsOn) -> Total:
    return await sessions.total_kernels(core, actor, where.agent_id)


def _groups(*, user_id: str | None = None, **more: Any) -> groups.GroupFilter:
    return groups.GroupFilter(member_id=user_id, **more)


_LISTS: Final[dict[str, _List]] = {
    "domains": _List(domains.page, domains.total, domains.DomainFilter, Domain),
    "groups": _List(groups.page, groups.total, _groups, Group),
    "users": _List(users.page, users.total, users.UserFilter, User, users.find),
    "keypairs": _List(keypairs.page, keypairs.total, keypairs.KeypairFilter, Keypair, keypairs.find),
    "policies": _List(policies.page, policies.total, policies.PolicyFilter, ResourcePolicy),
    "announcements": _List(
        announcements.page, announcements.total, announcements.AnnouncementFilter, Announcement
    ),
    "presets": _List(presets.page, presets.total, presets.PresetFilter, ResourcePreset),
    "resource_groups": _List(
        resource_groups.page, resource_groups.total, resource_groups.ResourceGroupFilter, ResourceGroup
    ),
    "agents": _List(agents.page, agents.total, agents.AgentFilter, Agent),
    "images": _List(images.page, images.total, images.ImageFilter, Image),
    "identity_providers": _List(
        identity_providers.page, identity_providers.total, identity_providers.ProviderFilter, IdentityProvider
    ),
    "invitations": _List(invitations.page, invitations.total, invitations.InvitationFilter, Invitation),
    "mails": _List(mails.page, mails.total, mails.MailFilter, Mail, mails.find),
    "registries": _List(registries.page, registries.total, registries.RegistryFilter, Registry),
    "tasks": _List(tasks.page, tasks.total, tasks.TaskFilter, Task),
    "sessions": _List(sessions.page, sessions.total, sessions.SessionFilter, Session, sessions.find),
    "audits": _List(audits.page, audits.total, audits.AuditFilter, AuditEvent, audits.find),
    "kernels": _List(_page_kernels, _total_kernels, _KernelsOn, Kernel),
}


async def _capacity(core: Core, _actor: Actor, keys: Sequence[str]) -> dict[str, list[Any]]:
    return {key: [found] for key, found in (await availability.capacities(core, keys)).items()}


async def _usable(core: Core, actor: Actor, keys: Sequence[str]) -> dict[str, list[Any]]:
    where = resource_groups.ResourceGroupFilter(active=True)
    order = [Order(resource_groups.ORDERS["NAME"])]
    page = await resource_groups.page(core, actor, where, order, PageArgs(first=100))
    return {key: list(page.rows) for key in keys}


async def _logins(core: Core, actor: Actor, keys: Sequence[str]) -> dict[str, list[Any]]:
    page = await auth.page_logins(core, actor, [], PageArgs(first=100))
    return {key: list(page.rows) for key in keys}


async def _installed(core: Core, _actor: Actor, keys: Sequence[str]) -> dict[str, list[Any]]:
    return {key: [key] for key in await images.installed(core, keys)}


async def _keypair_sessions(core: Core, _actor: Actor, keys: Sequence[str]) -> dict[str, list[Any]]:
    return {key: [found] for key, found in (await keypairs.session_counts(core, keys)).items()}


async def _keypair_requests(core: Core, _actor: Actor, keys: Sequence[str]) -> dict[str, list[Any]]:
    return {key: [found] for key, found in (await keypairs.request_counts(core, keys)).items()}


#: What belongs to another thing in small numbers → how it is read for several of those, how it is shown.
_EACH: Final[dict[str, tuple[Each, Any]]] = {
    "kernels": (sessions.kernels, Kernel.of),
    "dependencies": (sessions.dependencies, Session.of),
    "unmet": (sessions.unmet, Session.of),
    "terms": (sessions.find_terms, None),
    "timelines": (sessions.timelines, SessionEventEntry.of),
    "images": (images.on_agents, Image.of),
    "installed": (_installed, str),
    "aliases": (images.aliases, str),
    "capacity": (_capacity, None),
    "grants": (resource_groups.grants, str),
    "registry_grants": (registries.grants, str),
    "registries": (registries.of_grantees, Registry.of),
    "memberships": (groups.of_users, Group.of),
    "usable": (_usable, ResourceGroup.of),
    "logins": (_logins, Login.of),
    "task_lines": (tasks.lines, None),
    "keypair_sessions": (_keypair_sessions, None),
    "keypair_requests": (_keypair_requests, None),
    "recovery_codes": (factors.codes_left, None),
    "consents": (signups.consents, Consent.of),
    "identities": (identities.of_users, Identity.of),
    "provider_titles": (identities.titles, None),
}


@dataclass
class RequestContext:
    """Made anew for each operation; nothing outlives it."""

    core: Core
    actor: Actor | None
    address: str = ""
    user_agent: str = ""
    cookies: dict[str, str] = field(default_factory=dict[str, str])
    #: In logs, the audit and the header `X-Request-Id`.
    request_id: str = field(default_factory=lambda: secrets.token_hex(8))
    #: Is the console reached over TLS? Then cookies are marked so.
    secure: bool = False
    introspection: bool = True
    #: Names of `ServerFeature`s, beside introspection.
    offered: frozenset[str] = frozenset()
    #: Headers to be added to the answer: cookies.
    response_headers: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    _batches: dict[tuple[Any, ...], Batch[Any, Any]] = field(
        default_factory=dict[tuple[Any, ...], Batch[Any, Any]]
    )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.forget()

    @property
    def viewer(self) -> Actor:
        if self.actor is None:
            raise Unauthenticated("Log in first.")
        return self.actor

    @property
    def features(self) -> frozenset[str]:
        return self.offered | {"INTROSPECTION"} if self.introspection else self.offered

    async def load(self, key: str) -> Any:
        found = await self.find(key)
        if found is None:
            raise NotFound("There is no such object, or it is not yours to see.")
        return found

    async def find(self, key: str | None) -> Any:
        return await _settled(self._answer("id", "", key))

    async def each(self, what: str, within: Hashable) -> list[Any]:
        return await _settled(self._answer("each", what, within))

    async def used(self, scope_id: str) -> dict[str, int]:
        return await _settled(self._answer("used", "", scope_id))

    async def actions(self, row: Base) -> list[str]:
        return await _settled(self._answer("actions", "", row))

    async def login_providers(self) -> list[LoginProvider]:
        site = self.core.settings.public_url
        found = await identity_providers.offered(self.core)
        return [
            LoginProvider(name=one.name, title=one.title, url=f"{site}/auth/oidc/{one.name}") for one in found
        ]

    def ask(self, need: Need, thing: Any) -> Any:
        return self._answer(need.kind, need.what, need.key(thing))

    def known(self, need: Need, thing: Any) -> Any:
        key = need.key(thing)
        batch = self._batch(need.kind, need.what, key)
        return None if batch is None else batch.known(key)

    def foresee(self, need: Need, things: Sequence[Any]) -> Awaitable[object] | None:
        keys: dict[Batch[Any, Any], list[Any]] = {}
        for thing in things:
            key = need.key(thing)
            batch = self._batch(need.kind, need.what, key)
            if batch is not None:
                keys.setdefault(batch, []).append(key)
        rounds = [found for batch, wanted in keys.items() if (found := batch.foresee(wanted)) is not None]
        return asyncio.gather(*rounds) if rounds else None

    def page(
        self, what: str, args: PageArgs, *, order: Sequence[Order] = (), **where: Any
    ) -> Connection[Any]:
        given = {name: value for name, value in where.items() if value is not None}
        if len(given) == 1:
            ((condition, parent_id),) = given.items()
            if (what, condition) in nested.LISTS and ids.kind(parent_id):
                return self._nested_page((what, condition), parent_id, tuple(order), args)
        listed = _LISTS[what]
        wanted = listed.where(**given)
        memory: dict[str, Any] = {}
        looking = asyncio.Lock()

        async def found() -> dict[str, Any]:
            if listed.find is None or not given.get("search"):
                return {}
            async with looking:
                if "found" not in memory:
                    memory["found"] = await listed.find(self.core, wanted)
            return {"found": memory["found"]}

        async def read() -> tuple[Page[Any], list[Any]]:
            if "page" not in memory:
                page = await listed.page(self.core, self.viewer, wanted, order, args, **await found())
                memory["page"] = page, [listed.of.of(row) for row in page.rows]
            return memory["page"]

        async def total() -> Total:
            if "total" not in memory:
                memory["total"] = await listed.total(self.core, self.viewer, wanted, **await found())
            return memory["total"]

        return Connection[Any](read=read, total=total)

    def search(
        self, what: str, args: PageArgs, *, order: Sequence[Order] = (), where: Mapping[str, Any]
    ) -> Connection[Any]:
        found = self.page(what, args, order=order, **where)
        if not _named(where):
            return found

        async def read() -> tuple[Page[Any], list[Any]]:
            return await found.read() if await self.sees(where) else (_NO_PAGE, [])

        async def total() -> Total:
            return await found.total() if await self.sees(where) else Total(0, exact=True)

        return Connection[Any](read=read, total=total)

    async def sees(self, where: Mapping[str, Any]) -> bool:
        _ = self.viewer
        things = await asyncio.gather(*map(self.find, _named(where)))
        return None not in things

    def _nested_page(
        self, within: tuple[str, str], parent_id: str, order: tuple[Order, ...], args: PageArgs
    ) -> Connection[Any]:
        """A list within one thing; those of all things on a page that are selected alike are read together."""
        rows = self._named_batch(
            ("page", within, order, args), lambda: Batch(self._load_pages(within, order, args), None)
        )
        totals = self._named_batch(("total", within), lambda: Batch(self._load_totals(within), None))

        async def read() -> tuple[Page[Any], list[Any]]:
            return await _settled(rows.get(parent_id))

        async def total() -> Total:
            return await _settled(totals.get(parent_id))

        return Connection[Any](read=read, total=total)

    def _load_pages(
        self, within: tuple[str, str], order: Sequence[Order], args: PageArgs
    ) -> Callable[[list[str]], Awaitable[dict[str, Any]]]:
        listed = _LISTS[within[0]]

        async def load(parent_ids: list[str]) -> dict[str, Any]:
            if len(parent_ids) == 1:
                # Alone it may stop at the page's end, by an index.
                condition = listed.where(**{within[1]: parent_ids[0]})
                pages = {parent_ids[0]: await listed.page(self.core, self.viewer, condition, order, args)}
            else:
                pages = await nested.pages(
                    self.core, self.viewer, nested.LISTS[within], parent_ids, order, args
                )
            return {key: (page, [listed.of.of(row) for row in page.rows]) for key, page in pages.items()}

        return load

    def _load_totals(self, within: tuple[str, str]) -> Callable[[list[str]], Awaitable[dict[str, Total]]]:
        listed = _LISTS[within[0]]

        async def load(parent_ids: list[str]) -> dict[str, Total]:
            if len(parent_ids) == 1:
                condition = listed.where(**{within[1]: parent_ids[0]})
                return {parent_ids[0]: await listed.total(self.core, self.viewer, condition)}
            return await nested.totals(self.core, self.viewer, nested.LISTS[within], parent_ids)

        return load

    def forget(self) -> None:
        """A mutation has changed what was loaded: read it again."""
        for batch in self._batches.values():
            batch.close()
        self._batches.clear()

    def _answer(self, kind: str, what: str, key: Any) -> Any:
        batch = self._batch(kind, what, key)
        return None if batch is None else batch.get(key)

    def _batch(self, kind: str, what: str, key: Any) -> Batch[Any, Any] | None:
        """What answers this question; None when it has no answer: an empty reference, an id of nothing."""
        if kind == "id":
            what = (ids.kind(key) if key else None) or ""
            if not what or self.actor is None:
                return None
        elif kind == "actions":
            what = type(key).__name__
        return self._named_batch((kind, what), lambda: self._new_batch(kind, what))

    def _named_batch(self, name: tuple[Any, ...], new: Callable[[], Batch[Any, Any]]) -> Batch[Any, Any]:
        batch = self._batches.get(name)
        if batch is None:
            batch = self._batches[name] = new()
        return batch

    def _new_batch(self, kind: str, what: str) -> Batch[Any, Any]:
        match kind:
            case "id":
                return Batch(self._load_many(what), missing=None)
            case "each":
                return Batch(self._load_each(what), missing=())
            case "used":
                return Batch(self._load_used, missing={})
            case _:
                return Batch(self._load_actions, missing=())

    def _load_many(self, kind: str) -> Callable[[list[str]], Awaitable[dict[str, Any]]]:
        many, shown = _LOADS[kind]

        async def load(keys: list[str]) -> dict[str, Any]:
            found = await many(self.core, self.viewer, keys)
            return {key: shown.of(row) for key, row in found.items()}

        return load

    def _load_each(self, what: str) -> Callable[[list[str]], Awaitable[dict[str, list[Any]]]]:
        each, shown = _EACH[what]

        async def load(keys: list[str]) -> dict[str, list[Any]]:
            found = await each(self.core, self.viewer, keys)
            return {key: [shown(row) if shown else row for row in rows] for key, rows in found.items()}

        return load

    async def _load_used(self, keys: list[str]) -> dict[str, dict[str, int]]:
        async with self.core.db.read() as db:
            return await occupancy.of(db, keys)

    async def _load_actions(self, rows: list[Base]) -> dict[Base, list[str]]:
        found = await subjects.allowed_actions(self.core, self.viewer, rows)
        return {row: found[row.id] for row in rows}  # pyright: ignore[reportAttributeAccessIssue]


def request_of(info: Info) -> RequestContext:
    """The context of an operation that came with a request: its address, its cookies."""
    context = info.context
    if not isinstance(context, RequestContext):
        raise TypeError("these fields need the context of a request")
    return context


def _named(where: Mapping[str, Any]) -> list[str]:
    """Ids in a client's conditions."""
    return [value for name, value in where.items() if name.endswith("_id")]


async def _settled(answer: Any) -> Any:
    return await answer if isawaitable(answer) else answer
