"""Small words for declaring types."""

from typing import Any

import strawberry


def said(description: str, **more: Any) -> Any:
    """A field with its description."""
    return strawberry.field(description=description, **more)
