"""Root fields about images."""

from typing import Annotated

import strawberry

from resolvers.listings import listing
from schema import images as types
from schema.context import Info
from schema.errors import Problem
from schema.images import Environment, Image
from schema.slots import pairs
from schema.tasks import Task
from services import images

OfGroup = Annotated[
    strawberry.ID | None, strawberry.argument(description="Only what sessions of this group may use.")
]


@strawberry.type
class ImageQueries:
    images = listing(
        "images",
        images.ORDERS,
        of=Image,
        filter=types.ImageFilter,
        order=types.ImageOrder,
        description="Images that you may use; for administrators all.",
    )

    @strawberry.field(
        description="What you can start sessions with, by name: languages and frameworks with their versions."
    )
    async def environments(self, info: Info, group_id: OfGroup = None) -> list[Environment]:
        if group_id is not None and not await info.context.sees({"group_id": str(group_id)}):
            return []
        wanted = None if group_id is None else str(group_id)
        found = await images.environments(info.context.core, info.context.viewer, wanted)
        return [Environment.of(one) for one in found]


@strawberry.type
class ImageMutations:
    @strawberry.field(description="Change an image's minimums, or whether it may be used.")
    async def update_image(self, info: Info, input: types.UpdateImageInput) -> types.UpdateImagePayload:
        row = await images.edit(
            info.context.core,
            info.context.viewer,
            str(input.id),
            minimum_slots=pairs(input.minimum_slots),
            active=input.active,
            aliases=input.aliases,
        )
        return types.UpdateImagePayload(image=Image.of(row))

    @strawberry.field(description="Take images off the list.")
    async def forget_images(self, info: Info, input: types.ImagesInput) -> types.ForgetImagesPayload:
        gone = await images.forget(info.context.core, info.context.viewer, [str(one) for one in input.ids])
        return types.ForgetImagesPayload(deleted_ids=[strawberry.ID(one) for one in gone])

    @strawberry.field(description="Bring images to nodes, in the background.")
    async def install_images(
        self, info: Info, input: types.ImagesOnAgentsInput
    ) -> types.InstallImagesPayload:
        row = await images.install(info.context.core, info.context.viewer, *_ids(input))
        return types.InstallImagesPayload(task=Task.of(row))

    @strawberry.field(description="Remove images from nodes; one that a live session uses stays.")
    async def remove_images(self, info: Info, input: types.ImagesOnAgentsInput) -> types.RemoveImagesPayload:
        done = await images.remove(info.context.core, info.context.viewer, *_ids(input))
        return types.RemoveImagesPayload(results=[_result(outcome) for outcome in done])

    @strawberry.field(
        description="Remove images from nodes where nobody used them for long, in the background."
    )
    async def clean_up_images(
        self, info: Info, input: types.CleanUpImagesInput
    ) -> types.CleanUpImagesPayload:
        row = await images.clean_up(
            info.context.core,
            info.context.viewer,
            unused_days=input.unused_days,
            agent_ids=None if input.agent_ids is None else [str(one) for one in input.agent_ids],
            include_local=input.include_local,
            dry_run=input.dry_run,
        )
        return types.CleanUpImagesPayload(task=Task.of(row))


def _ids(input: types.ImagesOnAgentsInput) -> tuple[list[str], list[str]]:
    return [str(one) for one in input.image_ids], [str(one) for one in input.agent_ids]


def _result(outcome: images.Outcome) -> types.ImageOnAgentResult:
    return types.ImageOnAgentResult(
        image_id=strawberry.ID(outcome.image_id),
        agent_id=strawberry.ID(outcome.agent_id),
        error=Problem.of(outcome.error) if outcome.error else None,
    )
