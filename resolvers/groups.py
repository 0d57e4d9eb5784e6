"""Root fields about groups."""

import strawberry

from resolvers.inputs import given, orders
from schema import groups as types
from schema.context import Info
from schema.groups import Group
from schema.paging import After, Before, Connection, First, Last, page_args
from schema.slots import pairs
from services import groups
from services.groups import GroupChanges, GroupSpec


@strawberry.type
class GroupQueries:
    @strawberry.field(description="Groups that you see.")
    def groups(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: types.GroupFilter | None = None,
        order_by: list[types.GroupOrder] | None = None,
    ) -> Connection[Group]:
        order = orders(order_by, groups.ORDERS, "CREATED_AT")
        return info.context.search(
            "groups", page_args(first, after, last, before), order=order, where=given(filter)
        )


@strawberry.type
class GroupMutations:
    @strawberry.field(description="Make a group.")
    async def create_group(self, info: Info, input: types.CreateGroupInput) -> types.CreateGroupPayload:
        spec = GroupSpec(
            str(input.domain_id),
            input.name,
            input.description,
            pairs(input.total_slots),
            input.idempotency_key,
        )
        row = await groups.create(info.context.core, info.context.viewer, spec)
        return types.CreateGroupPayload(group=Group.of(row))

    @strawberry.field(description="Change a group.")
    async def update_group(self, info: Info, input: types.UpdateGroupInput) -> types.UpdateGroupPayload:
        limits = None if input.total_slots is None else pairs(input.total_slots)
        changes = GroupChanges(input.name, input.description, limits, input.active)
        row = await groups.edit(info.context.core, info.context.viewer, str(input.id), changes)
        return types.UpdateGroupPayload(group=Group.of(row))

    @strawberry.field(description="Deactivate a group: nothing can be launched in it.")
    async def deactivate_group(
        self, info: Info, input: types.DeactivateGroupInput
    ) -> types.DeactivateGroupPayload:
        row = await groups.deactivate(info.context.core, info.context.viewer, str(input.id))
        return types.DeactivateGroupPayload(group=Group.of(row))

    @strawberry.field(description="Make users of the domain members of a group.")
    async def add_group_members(
        self, info: Info, input: types.GroupMembersInput
    ) -> types.AddGroupMembersPayload:
        row = await groups.add_members(
            info.context.core, info.context.viewer, str(input.id), [str(user) for user in input.user_ids]
        )
        return types.AddGroupMembersPayload(group=Group.of(row))

    @strawberry.field(description="Take members from a group; their sessions go on.")
    async def remove_group_members(
        self, info: Info, input: types.GroupMembersInput
    ) -> types.RemoveGroupMembersPayload:
        row = await groups.remove_members(
            info.context.core, info.context.viewer, str(input.id), [str(user) for user in input.user_ids]
        )
        return types.RemoveGroupMembersPayload(group=Group.of(row))
