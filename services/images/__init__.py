"""Images: what registries and nodes have, and what sessions may start from.

rows      listed, changed, forgotten
labels    what an image's name and labels say
reports   what nodes report
nodes     brought to nodes and removed from them
"""

from services.images.cleaning import CLEAN_UP, clean_up
from services.images.environments import Environment, Version, environments
from services.images.labels import Described, Reference, describe, split
from services.images.nodes import INSTALL, Outcome, install, remove
from services.images.reports import take
from services.images.rows import (
    ORDERS,
    ImageFilter,
    aliases,
    edit,
    forget,
    get,
    installed,
    many,
    on_agents,
    page,
    total,
)

__all__ = [
    "CLEAN_UP",
    "INSTALL",
    "ORDERS",
    "Described",
    "Environment",
    "ImageFilter",
    "Outcome",
    "Reference",
    "Version",
    "aliases",
    "clean_up",
    "describe",
    "edit",
    "environments",
    "forget",
    "get",
    "install",
    "installed",
    "many",
    "on_agents",
    "page",
    "remove",
    "split",
    "take",
    "total",
]
