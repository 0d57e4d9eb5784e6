"""The operations that the console was built with, for operators who let browsers send nothing else.

A document is known by what it asks for, not by its letters: clients print it anew and add `__typename` for their caches.
"""

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any, Final, cast

from graphql import GraphQLError, parse
from graphql.utilities import ast_to_dict
from starlette.requests import HTTPConnection

from services.errors import Forbidden

#: The manifest beside the built console: hash → document.
MANIFEST: Final = "operations.json"
#: Verdicts that are kept, and how long (characters) a document may be at all.
_KEPT: Final = 512
_LENGTH: Final = 32_768


class TrustedDocuments:
    """Those of one manifest.

    Args:
        manifest: as the console's build writes it.

    Raises:
        OSError, ValueError: it is not there, or no manifest.
    """

    def __init__(self, manifest: Path) -> None:
        documents: dict[str, str] = json.loads(manifest.read_text())
        self._known = {_essence(text) for text in documents.values()}
        self._verdicts: OrderedDict[str, bool] = OrderedDict()

    def __contains__(self, text: str) -> bool:
        if len(text) > _LENGTH:
            return False
        verdict = self._verdicts.get(text)
        if verdict is None:
            verdict = self._verdicts[text] = self._is_known(text)
            if len(self._verdicts) > _KEPT:
                self._verdicts.popitem(last=False)
        return verdict

    def admit(self, connection: HTTPConnection, text: str) -> None:
        """Raises `Forbidden` for a browser's operation that is none of the console's. Scripts send what they like."""
        if _is_browser(connection) and text not in self:
            raise Forbidden("Browsers may send only the console's own operations here.")

    def _is_known(self, text: str) -> bool:
        try:
            return _essence(text) in self._known
        except (GraphQLError, RecursionError):
            return False


def _is_browser(connection: HTTPConnection) -> bool:
    """Browsers say so, and no page can keep them from it (Fetch Metadata, W3C; the Fetch standard's `Origin`)."""
    return "sec-fetch-site" in connection.headers or "origin" in connection.headers


def _essence(text: str) -> str:
    """One text for all documents that ask for the same."""
    return _text(_in_order(ast_to_dict(parse(text, no_location=True, max_tokens=2000))))


def _in_order(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: _in_order(part) for name, part in cast("dict[str, Any]", node).items()}
    if isinstance(node, list):
        parts = [_in_order(part) for part in cast("list[Any]", node) if not _is_typename(part)]
        # What is asked for may stand in any order, the items of a list value may not.
        return parts if parts and _is_value(parts[0]) else sorted(parts, key=_text)
    return node


def _text(node: Any) -> str:
    return json.dumps(node, sort_keys=True)


def _is_typename(node: Any) -> bool:
    return node.get("kind") == "field" and node["name"]["value"] == "__typename" and not node.get("alias")


def _is_value(node: Any) -> bool:
    return str(node.get("kind", "")).endswith("value")
