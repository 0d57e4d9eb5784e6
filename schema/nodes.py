"""Everything that has an identity."""

import strawberry

from schema.fields import said


@strawberry.interface(
    description="A thing with an identity, to be found by `node(id)` and cached under its id."
)
class Node:
    id: strawberry.ID = said(
        "Globally unique, the same in queries, payloads and events: a prefix that says what it is, and 26 characters."
    )
