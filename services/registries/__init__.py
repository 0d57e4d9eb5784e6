"""Registries: where images come from, who may use them, and what they have.

rows      the registries that are known, and for whom
"""

from services.registries.rows import (
    DOCKER_HUB_HOST,
    KINDS,
    ORDERS,
    RegistryChanges,
    RegistryFilter,
    RegistrySpec,
    create,
    delete,
    edit,
    get,
    grant,
    grants,
    many,
    of_grantees,
    page,
    revoke,
    total,
)
from services.registries.scan import RESCAN, rescan

__all__ = [
    "DOCKER_HUB_HOST",
    "KINDS",
    "ORDERS",
    "RESCAN",
    "RegistryChanges",
    "RegistryFilter",
    "RegistrySpec",
    "create",
    "delete",
    "edit",
    "get",
    "grant",
    "grants",
    "many",
    "of_grantees",
    "page",
    "rescan",
    "revoke",
    "total",
]
