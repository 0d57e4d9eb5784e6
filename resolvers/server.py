"""Root fields about the installation: who am I, what is there, one thing by its id."""

from datetime import UTC, datetime
from importlib.metadata import version
from typing import Annotated

import strawberry

from resolvers.inputs import GroupId, ResourceGroupId
from schema.access import Server, ServerFeature, SignUpMode, Viewer
from schema.context import Info
from schema.nodes import Node
from schema.resource_groups import (
    Availability,
    SessionAllowance,
    SlotAvailability,
)
from schema.signups import LegalText
from schema.slots import SlotType, slot_type
from services import ids, slots
from services.errors import BadInput
from services.options import (
    PRIVACY_TEXT,
    PRIVACY_URL,
    PRIVACY_VERSION,
    SIGN_UP_MODE,
    TERMS_TEXT,
    TERMS_URL,
    TERMS_VERSION,
    Option,
)
from services.scheduling import availability


@strawberry.type
class ServerQueries:
    @strawberry.field(description="You; null when you are not logged in.")
    def viewer(self, info: Info) -> Viewer | None:
        return Viewer.of(info.context.actor) if info.context.actor else None

    @strawberry.field(description="This installation.")
    def server(self, info: Info) -> Server:
        return Server(
            version=version("berth"),
            api_version="1",
            sign_up_mode=SignUpMode(info.context.core.options.value(SIGN_UP_MODE)),
            terms_of_service=_text(info, TERMS_VERSION, TERMS_TEXT, TERMS_URL),
            privacy_policy=_text(info, PRIVACY_VERSION, PRIVACY_TEXT, PRIVACY_URL),
            features=[feature for feature in ServerFeature if feature.value in info.context.features],
            time=datetime.now(UTC),
            url=info.context.core.settings.public_url,
        )

    @strawberry.field(
        description="The thing with this id; null when it does not exist or is not yours to see."
    )
    async def node(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="Any id.")]
    ) -> Node | None:
        if ids.kind(str(id)) is None:
            raise BadInput(
                f"An id is a prefix ({', '.join(ids.KINDS)}), an underscore and 26 characters.", path="id"
            )
        _ = info.context.viewer
        return await info.context.find(str(id))

    @strawberry.field(description="Kinds of resources that sessions may ask for.")
    def slot_types(self, info: Info) -> list[SlotType]:
        _ = info.context.viewer
        return [SlotType.of(kind) for kind in slots.SLOT_TYPES.values()]

    @strawberry.field(
        description="What you can get in a group and a resource group, limits and nodes together."
    )
    async def availability(
        self,
        info: Info,
        group_id: GroupId,
        resource_group_id: ResourceGroupId,
    ) -> Availability:
        found = await availability.find(
            info.context.core, info.context.viewer, str(group_id), str(resource_group_id)
        )
        return Availability(
            slots=[_slot(one) for one in found.slots],
            sessions=SessionAllowance(limit=found.sessions_limit, used=found.sessions_used),
        )


def _text(info: Info, version: Option[str], text: Option[str], url: Option[str]) -> LegalText | None:
    value = info.context.core.options.value
    if not value(version):
        return None
    return LegalText(version=value(version), text=value(text), url=value(url) or None)


def _slot(found: availability.SlotAvailability) -> SlotAvailability:
    def shown(amount: int) -> str:
        return slots.render(found.name, amount)

    return SlotAvailability(
        name=found.name,
        type=slot_type(found.name),
        limit=None if found.limit is None else shown(found.limit),
        used=shown(found.used),
        capacity=shown(found.capacity),
        free=shown(found.free),
        largest_free=shown(found.largest_free),
        largest_capacity=shown(found.largest_capacity),
    )
