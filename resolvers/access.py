"""Root fields about logging in and out."""

import strawberry

from resolvers.context import RequestContext, request_of
from resolvers.cookies import refresh_cookie, refresh_cookie_name
from schema import access as types
from schema.access import Viewer
from schema.context import Info
from schema.users import User
from services import auth, permissions, sshkeys, subjects, users
from services.auth import LoginResult, SecondFactor, factors
from services.errors import Unauthenticated


@strawberry.type
class AccessMutations:
    @strawberry.field(description="Log in by e-mail address and password.")
    async def login(self, info: Info, input: types.LoginInput) -> types.LoginPayload:
        context = request_of(info)
        result = await auth.login(
            context.core, input.email, input.password, address=context.address, user_agent=context.user_agent
        )
        return _logged_in(context, result, cookie=input.cookie)

    @strawberry.field(description="Log in by keypair; its policy's limits count for this login.")
    async def login_with_keypair(self, info: Info, input: types.LoginWithKeypairInput) -> types.LoginPayload:
        context = request_of(info)
        result = await auth.login_with_keypair(
            context.core,
            input.access_key,
            input.secret_key,
            address=context.address,
            user_agent=context.user_agent,
        )
        return _logged_in(context, result, cookie=input.cookie)

    @strawberry.field(description="Exchange a refresh token for an access token and the next refresh token.")
    async def refresh_login(self, info: Info, input: types.RefreshLoginInput) -> types.LoginPayload:
        context = request_of(info)
        by_cookie = input.refresh_token is None
        token = (
            context.cookies.get(refresh_cookie_name(secure=context.secure))
            if by_cookie
            else input.refresh_token
        )
        if not token:
            raise Unauthenticated("There is no login to renew. Log in.")
        result = await auth.refresh(
            context.core, token, address=context.address, user_agent=context.user_agent
        )
        return _logged_in(context, result, cookie=by_cookie)

    @strawberry.field(
        description="Open a login that waits for its second factor, by the app's code or a recovery code."
    )
    async def confirm_login(self, info: Info, input: types.ConfirmLoginInput) -> types.LoginPayload:
        context = request_of(info)
        result = await auth.confirm_login(
            context.core, input.ticket, input.code, address=context.address, user_agent=context.user_agent
        )
        return _logged_in(context, result, cookie=input.cookie)

    @strawberry.field(description="Begin to set up a second factor: a secret for an authenticator app.")
    async def start_totp(self, info: Info, input: types.StartTotpInput) -> types.StartTotpPayload:
        started = await factors.start(info.context.core, info.context.viewer, input.password)
        return types.StartTotpPayload(secret=started.secret, url=started.url, qr_code=started.qr_code)

    @strawberry.field(description="Switch the second factor on, by a first code of the app.")
    async def confirm_totp(self, info: Info, input: types.ConfirmTotpInput) -> types.ConfirmTotpPayload:
        codes = await factors.confirm(info.context.core, info.context.viewer, input.code)
        return types.ConfirmTotpPayload(recovery_codes=codes)

    @strawberry.field(description="Replace your recovery codes, by a code of the app; the old ones are void.")
    async def regenerate_recovery_codes(
        self, info: Info, input: types.RegenerateRecoveryCodesInput
    ) -> types.RegenerateRecoveryCodesPayload:
        context = request_of(info)
        codes = await factors.regenerate(context.core, context.viewer, input.code)
        context.forget()
        return types.RegenerateRecoveryCodesPayload(recovery_codes=codes)

    @strawberry.field(description="Switch your second factor off, by password and code.")
    async def disable_totp(self, info: Info, input: types.DisableTotpInput) -> types.DisableTotpPayload:
        context = request_of(info)
        await factors.disable(context.core, context.viewer, input.password, input.code)
        context.forget()
        return types.DisableTotpPayload(user=await context.load(context.viewer.user_id))

    @strawberry.field(description="Take the second factor from a user who has lost it; their logins end.")
    async def reset_totp(self, info: Info, input: types.ResetTotpInput) -> types.ResetTotpPayload:
        user = await users.reset_totp(info.context.core, info.context.viewer, str(input.user_id))
        return types.ResetTotpPayload(user=User.of(user))

    @strawberry.field(description="Change what you may change of yourself.")
    async def update_profile(self, info: Info, input: types.UpdateProfileInput) -> types.UpdateProfilePayload:
        user = await users.edit_profile(
            info.context.core,
            info.context.viewer,
            name=input.name,
            full_name=input.full_name,
            language=input.language,
        )
        return types.UpdateProfilePayload(user=User.of(user))

    @strawberry.field(description="End one of your logins.")
    async def end_login(self, info: Info, input: types.EndLoginInput) -> types.EndLoginPayload:
        gone = await auth.end_login(info.context.core, info.context.viewer, str(input.id))
        return types.EndLoginPayload(deleted_id=strawberry.ID(gone))

    @strawberry.field(description="End this login.")
    async def logout(self, info: Info) -> types.LogoutPayload:
        context = request_of(info)
        _set_cookie(context, "", 0)
        gone = await auth.logout(context.core, context.viewer)
        return types.LogoutPayload(deleted_id=strawberry.ID(gone))

    @strawberry.field(description="End all your logins, this one too.")
    async def logout_everywhere(self, info: Info) -> types.LogoutEverywherePayload:
        context = request_of(info)
        _set_cookie(context, "", 0)
        gone = await auth.logout_everywhere(context.core, context.viewer)
        return types.LogoutEverywherePayload(deleted_ids=[strawberry.ID(one) for one in gone])

    @strawberry.field(description="Choose a password by a one-time link, and be logged in with it.")
    async def redeem_ticket(self, info: Info, input: types.RedeemTicketInput) -> types.LoginPayload:
        context = request_of(info)
        result = await auth.redeem_ticket(
            context.core,
            input.ticket,
            input.new_password,
            address=context.address,
            user_agent=context.user_agent,
        )
        return _logged_in(context, result, cookie=input.cookie)

    @strawberry.field(
        description="Have a link mailed to choose a new password. The answer does not tell whether there is such an account."
    )
    async def request_password_reset(
        self, info: Info, input: types.RequestPasswordResetInput
    ) -> types.RequestPasswordResetPayload:
        context = request_of(info)
        delayed = await auth.request_reset(context.core, input.email, address=context.address)
        return types.RequestPasswordResetPayload(mail_delayed=delayed)

    @strawberry.field(
        description="Choose a password by a one-time link, without being logged in. All logins end."
    )
    async def reset_password(self, info: Info, input: types.ResetPasswordInput) -> types.ResetPasswordPayload:
        user = await auth.reset_password(info.context.core, input.token, input.new_password)
        return types.ResetPasswordPayload(email=user.email)

    @strawberry.field(description="Change your password; all your other logins end.")
    async def change_password(
        self, info: Info, input: types.ChangePasswordInput
    ) -> types.ChangePasswordPayload:
        context = request_of(info)
        token = await auth.change_password(
            context.core, context.viewer, input.current_password, input.new_password
        )
        if token is None:
            return types.ChangePasswordPayload(
                access_token=None, expires_at=None, viewer=Viewer.of(context.viewer)
            )
        context.actor = await auth.authenticate_bearer(context.core, token[0])
        return types.ChangePasswordPayload(
            access_token=token[0], expires_at=token[1], viewer=Viewer.of(context.actor)
        )

    @strawberry.field(
        description="Make an SSH key pair for you. Its private key is in the answer, this once; sessions that start from now on accept it."
    )
    async def generate_ssh_keypair(
        self, info: Info, input: types.GenerateSshKeypairInput
    ) -> types.GenerateSshKeypairPayload:
        context = request_of(info)
        made = await sshkeys.generate(context.core, context.viewer, input.algorithm.name, add=input.add)
        context.forget()
        return types.GenerateSshKeypairPayload(
            public_key=types.SshPublicKey.of(made.public),
            private_key=made.private,
            viewer=Viewer.of(context.viewer),
        )

    @strawberry.field(
        description="Replace your SSH public keys; sessions that start from now on accept these."
    )
    async def set_ssh_public_keys(
        self, info: Info, input: types.SetSshPublicKeysInput
    ) -> types.SetSshPublicKeysPayload:
        context = request_of(info)
        await sshkeys.replace(context.core, context.viewer, input.public_keys)
        context.forget()
        return types.SetSshPublicKeysPayload(viewer=Viewer.of(context.viewer))

    @strawberry.field(description="Make a one-time link by which a user chooses a new password.")
    async def create_password_link(
        self, info: Info, input: types.CreatePasswordLinkInput
    ) -> types.CreatePasswordLinkPayload:
        context = request_of(info)
        user = await users.get(context.core, context.viewer, str(input.user_id), path="input.userId")
        async with context.core.db.read() as db:
            permissions.require(context.viewer, "updateUser", await subjects.one(db, context.viewer, user))
        ticket = await auth.create_password_ticket(context.core, user.id)
        return types.CreatePasswordLinkPayload(url=f"{context.core.settings.public_url}/welcome#{ticket}")


def _logged_in(
    context: RequestContext, result: LoginResult | SecondFactor, *, cookie: bool
) -> types.LoginPayload:
    if isinstance(result, SecondFactor):
        asked = types.SecondFactor(ticket=result.ticket, expires_at=result.expires_at)
        return types.LoginPayload(
            access_token=None, expires_at=None, refresh_token=None, viewer=None, second_factor=asked
        )
    context.actor = result.actor
    if cookie:
        life = (result.refresh_expires_at - context.core.now()).total_seconds()
        _set_cookie(context, result.refresh_token, int(life))
    return types.LoginPayload(
        access_token=result.access_token,
        expires_at=result.expires_at,
        refresh_token=None if cookie else result.refresh_token,
        viewer=Viewer.of(result.actor),
        second_factor=None,
    )


def _set_cookie(context: RequestContext, value: str, life: int) -> None:
    context.response_headers.append(("set-cookie", refresh_cookie(value, life, secure=context.secure)))
