"""Root fields about users."""

import strawberry

from resolvers.inputs import changed
from resolvers.listings import listing
from resolvers.results import results
from schema import user_imports as imported
from schema import users as types
from schema.closing import RemainingSessions
from schema.context import Info
from schema.slots import pairs
from schema.users import User
from services import imports, users
from services.users import UserChanges, UserSpec


@strawberry.type
class UserQueries:
    users = listing(
        "users",
        users.ORDERS,
        of=User,
        filter=types.UserFilter,
        order=types.UserOrder,
        description="Users that you see.",
    )


@strawberry.type
class UserMutations:
    @strawberry.field(description="Make a user, with a keypair.")
    async def create_user(self, info: Info, input: types.CreateUserInput) -> types.CreateUserPayload:
        core = info.context.core
        spec = UserSpec(
            domain_id=str(input.domain_id),
            email=input.email,
            name=input.name,
            full_name=input.full_name,
            description=input.description,
            password=input.password,
            role=input.role.name,
            must_change_password=input.must_change_password,
            group_ids=[str(group) for group in input.group_ids],
            total_slots=pairs(input.total_slots),
            max_concurrent_sessions=input.max_concurrent_sessions,
            idempotency_key=input.idempotency_key,
        )
        made = await users.create(core, info.context.viewer, spec)
        link = f"{core.settings.public_url}/welcome#{made.ticket}" if made.ticket else None
        return types.CreateUserPayload(user=User.of(made.user), password_link=link)

    @strawberry.field(
        description="Make users from a CSV file: all of them or, when a row is wrong, none. A dry run says what would happen."
    )
    async def import_users(self, info: Info, input: imported.ImportUsersInput) -> imported.ImportUsersPayload:
        core = info.context.core
        spec = imports.ImportSpec(
            domain_id=str(input.domain_id),
            csv=input.csv,
            dry_run=input.dry_run,
            skip_existing=input.skip_existing,
            generate_passwords=input.generate_passwords,
            mail_links=input.mail_links,
        )
        found = await imports.import_users(core, info.context.viewer, spec)
        return imported.ImportUsersPayload.of(found, f"{core.settings.public_url}/welcome#")

    @strawberry.field(description="Change a user.")
    async def update_user(self, info: Info, input: types.UpdateUserInput) -> types.UpdateUserPayload:
        changes = UserChanges(
            name=input.name,
            full_name=input.full_name,
            description=input.description,
            password=input.password,
            must_change_password=input.must_change_password,
            role=input.role.name if input.role else None,
            domain_id=str(input.domain_id) if input.domain_id else None,
            group_ids=None if input.group_ids is None else [str(group) for group in input.group_ids],
            total_slots=pairs(input.total_slots),
            max_concurrent_sessions=changed(input.max_concurrent_sessions),
        )
        row = await users.edit(info.context.core, info.context.viewer, str(input.id), changes)
        return types.UpdateUserPayload(user=User.of(row))

    @strawberry.field(description="Change several users in the same way, each for itself.")
    async def update_users(self, info: Info, input: types.UpdateUsersInput) -> types.UpdateUsersPayload:
        changes = UserChanges(
            description=input.description,
            must_change_password=input.must_change_password,
            role=input.role.name if input.role else None,
            domain_id=str(input.domain_id) if input.domain_id else None,
            group_ids=None if input.group_ids is None else [str(group) for group in input.group_ids],
            total_slots=pairs(input.total_slots),
            max_concurrent_sessions=changed(input.max_concurrent_sessions),
        )
        done = await users.edit_all(
            info.context.core, info.context.viewer, [str(one) for one in input.ids], changes
        )
        return types.UpdateUsersPayload(results=results(done, types.UserResult, "user", User))

    @strawberry.field(
        description="Deactivate users, each for itself: no login, no request; nothing is deleted."
    )
    async def deactivate_users(
        self, info: Info, input: types.DeactivateUsersInput
    ) -> types.DeactivateUsersPayload:
        done = await users.deactivate(
            info.context.core,
            info.context.viewer,
            [str(one) for one in input.ids],
            end_sessions=input.sessions is RemainingSessions.TERMINATE,
        )
        return types.DeactivateUsersPayload(results=results(done, types.UserResult, "user", User))

    @strawberry.field(description="Bring deactivated users back, each for itself.")
    async def reactivate_users(self, info: Info, input: types.UsersInput) -> types.ReactivateUsersPayload:
        done = await users.reactivate(info.context.core, info.context.viewer, [str(one) for one in input.ids])
        return types.ReactivateUsersPayload(results=results(done, types.UserResult, "user", User))
