"""Root fields about groups."""

import strawberry

from resolvers.inputs import changed
from resolvers.listings import listing
from resolvers.results import results
from schema import groups as types
from schema.closing import RemainingSessions
from schema.context import Info
from schema.groups import Group
from schema.slots import pairs
from services import groups
from services.groups import GroupChanges, GroupSpec


@strawberry.type
class GroupQueries:
    groups = listing(
        "groups",
        groups.ORDERS,
        of=Group,
        filter=types.GroupFilter,
        order=types.GroupOrder,
        description="Groups that you see.",
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
            max_concurrent_sessions=input.max_concurrent_sessions,
            allowed_storage_hosts=input.allowed_storage_hosts,
        )
        row = await groups.create(info.context.core, info.context.viewer, spec)
        return types.CreateGroupPayload(group=Group.of(row))

    @strawberry.field(description="Change a group.")
    async def update_group(self, info: Info, input: types.UpdateGroupInput) -> types.UpdateGroupPayload:
        changes = GroupChanges(
            input.name,
            input.description,
            pairs(input.total_slots),
            input.active,
            max_concurrent_sessions=changed(input.max_concurrent_sessions),
            allowed_storage_hosts=input.allowed_storage_hosts,
        )
        row = await groups.edit(info.context.core, info.context.viewer, str(input.id), changes)
        return types.UpdateGroupPayload(group=Group.of(row))

    @strawberry.field(description="Change several groups in the same way, each for itself.")
    async def update_groups(self, info: Info, input: types.UpdateGroupsInput) -> types.UpdateGroupsPayload:
        changes = GroupChanges(
            description=input.description,
            total_slots=pairs(input.total_slots),
            active=input.active,
            max_concurrent_sessions=changed(input.max_concurrent_sessions),
            allowed_storage_hosts=input.allowed_storage_hosts,
            end_sessions=input.sessions is RemainingSessions.TERMINATE,
        )
        done = await groups.edit_all(
            info.context.core, info.context.viewer, [str(one) for one in input.ids], changes
        )
        return types.UpdateGroupsPayload(results=results(done, types.GroupResult, "group", Group))

    @strawberry.field(description="Deactivate a group: nothing can be launched in it.")
    async def deactivate_group(
        self, info: Info, input: types.DeactivateGroupInput
    ) -> types.DeactivateGroupPayload:
        end = input.sessions is RemainingSessions.TERMINATE
        row = await groups.deactivate(info.context.core, info.context.viewer, str(input.id), end_sessions=end)
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
