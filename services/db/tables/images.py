"""Images, where they come from and where they lie."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from services.db.tables.base import Base, Slots, now


class Image(Base):
    """An environment that sessions start from, of one architecture."""

    __tablename__ = "images"
    __table_args__ = (Index(None, "reference", "architecture", unique=True),)

    id: Mapped[str] = mapped_column(primary_key=True)
    #: As an engine understands it.
    reference: Mapped[str] = mapped_column(String(512))
    architecture: Mapped[str]
    registry_host: Mapped[str] = mapped_column("registry", default="")
    namespace: Mapped[str] = mapped_column(default="")
    name: Mapped[str]
    tag: Mapped[str] = mapped_column(default="")
    digest: Mapped[str] = mapped_column(default="")
    size: Mapped[int] = mapped_column(default=0)
    language: Mapped[str] = mapped_column(default="")
    version: Mapped[str] = mapped_column(default="")
    base: Mapped[str] = mapped_column(default="")
    labels: Mapped[dict[str, str]] = mapped_column(default=dict)
    minimum_slots: Mapped[Slots] = mapped_column(default=dict)
    #: True once an admin has changed the minimums: labels no longer overwrite them.
    minimum_edited: Mapped[bool] = mapped_column(default=False)
    #: [{name, protocol, port}]
    service_ports: Mapped[list[Any]] = mapped_column(default=list)
    environment_names: Mapped[list[str]] = mapped_column(default=list)
    active: Mapped[bool] = mapped_column(default=True)
    #: What its registry had when it was last looked through: then the registry says what the image is, and not a node,
    #: which may have an older one. None: only nodes have it.
    scanned_digest: Mapped[str | None]
    #: It is hidden because its registry has it no more.
    vanished: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=now)


class ImageAlias(Base):
    """A short name for an image."""

    __tablename__ = "image_aliases"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(default=now)


class Registry(Base):
    """Where images come from. It governs every image whose reference begins with its host name."""

    __tablename__ = "registries"

    id: Mapped[str] = mapped_column(primary_key=True)
    #: As references have it: with the port, where there is one.
    hostname: Mapped[str] = mapped_column(unique=True)
    #: With the scheme; its host is the host name (Docker Hub's is another).
    url: Mapped[str] = mapped_column(String(512))
    #: DOCKER, DOCKER_HUB or HARBOR.
    kind: Mapped[str] = mapped_column(String(16), default="DOCKER")
    username: Mapped[str] = mapped_column(default="")
    #: Sealed; None: it is asked without one.
    password_encrypted: Mapped[bytes | None]
    #: Projects or namespaces that are looked through; none: all that the registry lists.
    projects: Mapped[list[str]] = mapped_column(default=list)
    #: Other hosts that it may send us and its password to: where its tokens are given out.
    trusted_hosts: Mapped[list[str]] = mapped_column(default=list)
    verify_tls: Mapped[bool] = mapped_column(default=True)
    active: Mapped[bool] = mapped_column(default=True)
    #: When it was last looked through to its end.
    scanned_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)


class RegistryGrant(Base):
    """A domain or group (by its id, which says what it is) that may use a registry's images."""

    __tablename__ = "registry_grants"

    registry_id: Mapped[str] = mapped_column(ForeignKey("registries.id"), primary_key=True)
    grantee_id: Mapped[str] = mapped_column(String(30), primary_key=True, index=True)


class AgentImage(Base):
    """An image that a node has on its disk."""

    __tablename__ = "agent_images"

    agent_id: Mapped[str] = mapped_column(ForeignKey("agents.id"), primary_key=True)
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"), primary_key=True, index=True)
    digest: Mapped[str] = mapped_column(default="")
    #: Since when, as far as that was watched.
    since: Mapped[datetime] = mapped_column(default=now)
