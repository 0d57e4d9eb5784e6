"""Images: what registries and nodes have, and what sessions may start from.

rows      listed, changed, forgotten
labels    what an image's name and labels say
reports   what nodes report
nodes     brought to nodes and removed from them
"""

from services.images.labels import Described, Reference, describe, split
from services.images.nodes import INSTALL, Outcome, install, remove
from services.images.reports import take
from services.images.rows import (
    ORDERS,
    ImageFilter,
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
    "INSTALL",
    "ORDERS",
    "Described",
    "ImageFilter",
    "Outcome",
    "Reference",
    "describe",
    "edit",
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
