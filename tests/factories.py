"""One factory a table: a row in the database with everything that it needs; a test overrides only what matters."""

import itertools
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from argon2 import PasswordHasher

from services import ids
from services.auth import totp
from services.core import Core
from services.db.tables import (
    Agent,
    AgentEvent,
    AgentImage,
    Announcement,
    AuditEvent,
    Base,
    Consent,
    Domain,
    Group,
    GroupMember,
    Identity,
    IdentityProvider,
    Image,
    ImageAlias,
    Invitation,
    JoinToken,
    Kernel,
    Keypair,
    Login,
    Mail,
    Nonce,
    Registry,
    RegistryGrant,
    ResourceGroup,
    ResourceGroupGrant,
    ResourcePolicy,
    ResourcePreset,
    Session,
    SessionEvent,
    Task,
    TaskLine,
    Ticket,
    User,
)
from services.keys import digest
from services.permissions import Actor

PASSWORD = "right-horse-1"
#: Cheap parameters: what is tested is not how long argon2 takes. `outdated`, so a login renews it.
PASSWORD_HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
SECRET_KEY = "k" * 40
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ somebody"


class Clock:
    """A wall clock (`core.now`) and a monotonic one that stand still until told otherwise."""

    def __init__(self, start: datetime) -> None:
        self.time = start
        self.seconds = 1000.0

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, span: timedelta) -> None:
        self.time += span
        self.seconds += span.total_seconds()


class Factories:
    def __init__(self, core: Core) -> None:
        self.core = core
        self._numbers = itertools.count(1)

    async def domain(self, **more: Any) -> Domain:
        return await self._add(Domain, **{"id": ids.new("dom"), "name": self._name("d"), **more})

    async def group(
        self, *, domain: Domain | None = None, members: Iterable[User] = (), **more: Any
    ) -> Group:
        domain_id = more.pop("domain_id", None) or (domain or await self.domain()).id
        values = {"id": ids.new("grp"), "domain_id": domain_id, "name": self._name("g"), **more}
        group = await self._add(Group, **values)
        for user in members:
            await self.member(group, user)
        return group

    async def member(self, group: Group, user: User) -> GroupMember:
        return await self._add(GroupMember, group_id=group.id, user_id=user.id)

    async def policy(self, **more: Any) -> ResourcePolicy:
        return await self._add(ResourcePolicy, **{"id": ids.new("pol"), "name": self._name("p"), **more})

    async def user(
        self,
        *,
        domain: Domain | None = None,
        groups: Iterable[Group] = (),
        policy: ResourcePolicy | None = None,
        rate_limit: int = 1000,
        **more: Any,
    ) -> User:
        """A user with the password `PASSWORD` and a main keypair."""
        domain_id = more.pop("domain_id", None) or (domain or await self.domain()).id
        name = more.pop("name", None) or self._name("u")
        user = await self._add(
            User,
            **{
                "id": ids.new("usr"),
                "domain_id": domain_id,
                "name": name,
                "email": f"{name}@example.org",
                "password_hash": PASSWORD_HASH,
                **more,
            },
        )
        for group in groups:
            await self.member(group, user)
        keypair = await self.keypair(user=user, policy=policy, rate_limit=rate_limit)
        async with self.core.db.write() as db:
            db.add(user)
            user.main_keypair_id = keypair.id
        return user

    async def totp(self, user: User, *, confirmed: bool = True) -> str:
        """Give a user a second factor. Returns its present code; of nobody nothing."""
        secret, now = totp.new_secret(), self.core.now()
        if user.id:
            async with self.core.db.write() as db:
                row = await db.get_one(User, user.id)
                row.totp_secret = self.core.keys.seal(secret, f"totp:{user.id}")
                row.totp_confirmed_at = now if confirmed else None
        return totp.code(secret, totp.step_at(now))

    async def keypair(
        self, *, user: User | None = None, policy: ResourcePolicy | None = None, **more: Any
    ) -> Keypair:
        """A keypair with the secret key `SECRET_KEY`."""
        keypair_id = more.pop("id", None) or ids.new("key")
        return await self._add(
            Keypair,
            **{
                "id": keypair_id,
                "user_id": (user or await self.user()).id,
                "policy_id": (policy or await self.policy()).id,
                "access_key": f"BK{next(self._numbers):018d}",
                "secret_encrypted": self.core.keys.seal(SECRET_KEY, keypair_id),
                **more,
            },
        )

    async def login(
        self, *, user: User | None = None, refresh_token: str | None = None, **more: Any
    ) -> Login:
        user = user or await self.user()
        return await self._add(
            Login,
            **{
                "id": ids.new("lgn"),
                "user_id": user.id,
                "epoch": user.epoch,
                "token_hash": digest(refresh_token or self._name("r")),
                "expires_at": self.core.now() + timedelta(days=14),
                **more,
            },
        )

    async def ticket(self, *, user: User | None = None, token: str = "ticket", **more: Any) -> Ticket:
        return await self._add(
            Ticket,
            **{
                "token_hash": digest(token),
                "purpose": "password",
                "user_id": (user or await self.user()).id,
                "data": {},
                "expires_at": self.core.now() + timedelta(hours=1),
                **more,
            },
        )

    async def identity_provider(self, **more: Any) -> IdentityProvider:
        name = self._name("idp")
        values = {"name": name, "title": name, "issuer": "https://id.example", "client_id": "berth"}
        return await self._add(IdentityProvider, **{"id": ids.new("idp"), **values, **more})

    async def identity(self, *, user: User | None = None, **more: Any) -> Identity:
        values = {
            "id": ids.new("idn"),
            "issuer": "https://id.example",
            "subject": self._name("subject"),
            **more,
        }
        user = user or await self.user()
        return await self._add(Identity, user_id=user.id, **{"email": user.email, **values})

    async def invitation(
        self,
        *,
        domain: Domain | None = None,
        group: Group | None = None,
        policy: ResourcePolicy | None = None,
        created_by: User | None = None,
        token: str | None = None,
        **more: Any,
    ) -> Invitation:
        return await self._add(
            Invitation,
            **{
                "id": ids.new("inv"),
                "token_hash": digest(token or self._name("i")),
                "domain_id": (domain or await self.domain()).id,
                "group_id": group.id if group else None,
                "policy_id": policy.id if policy else None,
                "created_by_id": created_by.id if created_by else None,
                "expires_at": self.core.now() + timedelta(days=1),
                **more,
            },
        )

    async def consent(self, *, user: User | None = None, **more: Any) -> Consent:
        values = {"document": "TERMS_OF_SERVICE", "version": "1", **more}
        return await self._add(Consent, user_id=(user or await self.user()).id, **values)

    async def mail(self, *, name: str | None = None, **more: Any) -> Mail:
        """A mail that waits."""
        mail_id = ids.new("eml")
        content = '{"subject": "s", "text": "t", "html": "h"}'
        return await self._add(
            Mail,
            **{
                "id": mail_id,
                "kind": "PASSWORD_RESET",
                "recipient": f"{name or self._name('m')}@example.org",
                "content": self.core.keys.seal(content, mail_id),
                "next_at": self.core.now(),
                "expires_at": self.core.now() + timedelta(days=1),
                "created_at": self.core.now(),
                **more,
            },
        )

    async def nonce(self, **more: Any) -> Nonce:
        values = {"keypair_id": ids.new("key"), "jti": self._name("j"), "expires_at": self.core.now(), **more}
        return await self._add(Nonce, **values)

    async def resource_group(
        self, *, granted: Iterable[Domain | Group | User] = (), **more: Any
    ) -> ResourceGroup:
        group = await self._add(ResourceGroup, **{"id": ids.new("rgp"), "name": self._name("r"), **more})
        for grantee in granted:
            await self._add(ResourceGroupGrant, resource_group_id=group.id, grantee_id=grantee.id)
        return group

    async def preset(self, **more: Any) -> ResourcePreset:
        return await self._add(
            ResourcePreset,
            **{
                "id": ids.new("pre"),
                "name": self._name("size"),
                "slots": {"cpu": 1000, "mem": 2**30},
                **more,
            },
        )

    async def announcement(self, *, domain: Domain | None = None, **more: Any) -> Announcement:
        values = {"domain_id": domain.id if domain else None, "title": self._name("news"), **more}
        author_id = more.pop("author_id", None) or (await self.user()).id
        return await self._add(
            Announcement,
            **{
                "id": ids.new("ann"),
                "author_id": author_id,
                "starts_at": self.core.now() - timedelta(hours=1),
                **values,
            },
        )

    async def join_token(self, *, resource_group: ResourceGroup | None = None, **more: Any) -> JoinToken:
        return await self._add(
            JoinToken,
            **{
                "token_hash": digest(self._name("t")),
                "resource_group_id": (resource_group or await self.resource_group()).id,
                "expires_at": self.core.now() + timedelta(hours=1),
                **more,
            },
        )

    async def agent(self, *, resource_group: ResourceGroup | None = None, **more: Any) -> Agent:
        return await self._add(
            Agent,
            **{
                "id": ids.new("agt"),
                "name": self._name("a"),
                "resource_group_id": (resource_group or await self.resource_group()).id,
                "credential_hash": digest("secret"),
                "status": "ALIVE",
                "slots": {"cpu": 4000, "mem": 8 * 2**30},
                **more,
            },
        )

    async def audit_event(self, *, user: User | None = None, **more: Any) -> AuditEvent:
        user = user or await self.user()
        return await self._add(
            AuditEvent,
            **{
                "id": ids.new("evt", more.get("at")),
                "user_id": user.id,
                "domain_id": user.domain_id,
                "action": "updateUser",
                "target_id": user.id,
                **more,
            },
        )

    async def agent_event(self, *, agent: Agent | None = None, **more: Any) -> AgentEvent:
        return await self._add(
            AgentEvent, **{"agent_id": (agent or await self.agent()).id, "status": "ALIVE", **more}
        )

    async def image(self, *, agents: Iterable[Agent] = (), aliases: Iterable[str] = (), **more: Any) -> Image:
        name = more.pop("name", None) or self._name("i")
        image = await self._add(
            Image,
            **{
                "id": ids.new("img"),
                "reference": f"berth/{name}:1",
                "architecture": "x86_64",
                "name": name,
                **more,
            },
        )
        for agent in agents:
            await self._add(AgentImage, agent_id=agent.id, image_id=image.id)
        for alias in aliases:
            await self._add(ImageAlias, name=alias, image_id=image.id)
        return image

    async def registry(
        self, *, granted: Iterable[Domain | Group] = (), password: str = "", **more: Any
    ) -> Registry:
        registry_id, hostname = ids.new("reg"), more.pop("hostname", None) or f"{self._name('reg')}.example"
        registry = await self._add(
            Registry,
            **{
                "id": registry_id,
                "hostname": hostname,
                "url": f"https://{hostname}",
                "password_encrypted": self.core.keys.seal(password, registry_id) if password else None,
                **more,
            },
        )
        for grantee in granted:
            await self._add(RegistryGrant, registry_id=registry.id, grantee_id=grantee.id)
        return registry

    async def task(self, *, user: User | None = None, **more: Any) -> Task:
        user = user or await self.user()
        return await self._add(
            Task,
            **{
                "id": ids.new("tsk"),
                "kind": "INSTALL_IMAGES",
                "user_id": user.id,
                "domain_id": user.domain_id,
                **more,
            },
        )

    async def task_line(self, *, task: Task, **more: Any) -> TaskLine:
        return await self._add(
            TaskLine, **{"task_id": task.id, "number": next(self._numbers), "outcome": "DONE", **more}
        )

    async def session(
        self,
        *,
        user: User | None = None,
        group: Group | None = None,
        image: Image | None = None,
        resource_group: ResourceGroup | None = None,
        **more: Any,
    ) -> Session:
        user = user or await self.user()
        group = group or await self.group(domain_id=user.domain_id)
        return await self._add(
            Session,
            **{
                "id": ids.new("ses"),
                "name": self._name("s"),
                "status": "RUNNING",
                "user_id": user.id,
                "keypair_id": user.main_keypair_id,
                "group_id": group.id,
                "domain_id": group.domain_id,
                "resource_group_id": (resource_group or await self.resource_group()).id,
                "image_id": (image or await self.image()).id,
                "slots": {"cpu": 1000, "mem": 2**30},
                **more,
            },
        )

    async def kernel(
        self, *, session: Session | None = None, agent: Agent | None = None, **more: Any
    ) -> Kernel:
        session = session or await self.session()
        return await self._add(
            Kernel,
            **{
                "id": ids.new("knl"),
                "session_id": session.id,
                "agent_id": agent.id if agent else None,
                "status": session.status,
                "slots": session.slots,
                **more,
            },
        )

    async def session_event(self, *, session: Session | None = None, **more: Any) -> SessionEvent:
        session = session or await self.session()
        return await self._add(SessionEvent, **{"session_id": session.id, "status": session.status, **more})

    async def superadmin(self, **more: Any) -> Actor:
        return self.actor(await self.user(role="SUPERADMIN", **more))

    def actor(self, user: User, groups: Iterable[Group] = (), **more: Any) -> Actor:
        """Who asks, when this user does."""
        return Actor(
            **{
                "user_id": user.id,
                "domain_id": user.domain_id,
                "role": user.role,
                "group_ids": frozenset(group.id for group in groups),
                "keypair_id": user.main_keypair_id or "",
                "must_change_password": user.must_change_password,
                "must_set_up_totp": False,
                **more,
            }
        )

    async def fresh(self, row: Any) -> Any:
        """The row as the database has it now."""
        async with self.core.db.read() as db:
            return await db.get(type(row), row.id)

    async def _add(self, table: type[Base], **values: Any) -> Any:
        row = table(**values)
        async with self.core.db.write() as db:
            db.add(row)
        return row

    def _name(self, prefix: str) -> str:
        return f"{prefix}-{next(self._numbers)}"
