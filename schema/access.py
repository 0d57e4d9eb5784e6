"""Logging in and out, and who one is."""

from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import strawberry

from schema.context import Info
from schema.fields import said
from schema.identity_providers import LoginProvider
from schema.nodes import Node
from schema.signups import LegalText
from schema.users import Role, User
from services import sshkeys
from services.auth import devices
from services.db import tables
from services.permissions import Actor, permitted

if TYPE_CHECKING:
    from schema.domains import Domain
    from schema.groups import Group
    from schema.keypairs import Keypair
    from schema.resource_groups import ResourceGroup


@strawberry.enum(description="Who may sign up.")
class SignUpMode(Enum):
    CLOSED = strawberry.enum_value("CLOSED", description="Nobody; administrators add users.")
    INVITATION = strawberry.enum_value("INVITATION", description="Who has an invitation token.")
    OPEN = strawberry.enum_value("OPEN", description="Everybody.")


@strawberry.enum(description="What this installation lets you do, beside what everybody may.")
class ServerFeature(Enum):
    PLAYGROUND = strawberry.enum_value("PLAYGROUND", description="The GraphQL playground at /graphql.")
    INTROSPECTION = strawberry.enum_value("INTROSPECTION", description="Asking for the schema.")
    BROWSER_OPERATIONS = strawberry.enum_value(
        "BROWSER_OPERATIONS", description="Operations of your own from a browser, not only the console's."
    )
    PASSWORD_RESET = strawberry.enum_value("PASSWORD_RESET", description="`requestPasswordReset`.")


@strawberry.type(description="This installation.")
class Server:
    version: str = said("Of Berth.")
    api_version: str = said("Rises with each release that changes the schema.")
    sign_up_mode: SignUpMode = said("Who may sign up.")
    terms_of_service: LegalText | None = said("What people agree to when they sign up; null: nothing.")
    privacy_policy: LegalText | None = said("What people agree to when they sign up; null: nothing.")
    features: list[ServerFeature] = said("What it lets you do.")
    time: datetime = said("The server's clock.")
    url: str = said("Where the console and the API are reached.")

    @strawberry.field(description="Identity providers that one can log in by, as buttons.")
    async def login_providers(self, info: Info) -> list[LoginProvider]:
        return await info.context.login_providers()


@strawberry.type(description="A login: a browser or a program that was let in with a password or a keypair.")
class Login(Node):
    row: strawberry.Private[tables.Login]
    created_at: datetime = said("When it began.")
    last_used_at: datetime = said("When it was last renewed.")
    address: str = said("From where.")
    user_agent: str = said("The program, as it calls itself.")
    device: str = said("What program on which system that is, such as `Firefox on Linux`.")
    expires_at: datetime = said("When it ends, however often it is renewed.")

    @classmethod
    def of(cls, row: tables.Login) -> "Login":
        return cls(
            row=row,
            id=strawberry.ID(row.id),
            created_at=row.created_at,
            last_used_at=row.last_used_at,
            address=row.address,
            user_agent=row.user_agent,
            device=devices.describe(row.user_agent),
            expires_at=row.expires_at,
        )

    @strawberry.field(description="Is it this very one?")
    def current(self, info: Info) -> bool:
        return self.row.id == info.context.viewer.login_id


@strawberry.enum(description="Kinds of SSH keys that can be made here.")
class SshAlgorithm(Enum):
    ED25519 = strawberry.enum_value("ED25519", description="Short, fast, and what OpenSSH itself makes.")
    RSA = strawberry.enum_value("RSA", description="Of 3072 bits, for old clients.")


@strawberry.type(description="A public key that lets its owner into sessions by SSH.")
class SshPublicKey:
    type: str = said("As OpenSSH names it: ssh-ed25519, ssh-rsa …")
    bits: int = said("Its length.")
    fingerprint: str = said("SHA-256, as `ssh-keygen -l` shows it.")
    comment: str = said("What its owner calls it.")
    public_key: str = said("Its line of an authorized_keys file.")

    @classmethod
    def of(cls, key: sshkeys.PublicKey) -> "SshPublicKey":
        return cls(
            type=key.type,
            bits=key.bits,
            fingerprint=key.fingerprint,
            comment=key.comment,
            public_key=key.text,
        )


@strawberry.type(description="Who asks, and what they may do.")
class Viewer:
    actor: strawberry.Private[Actor]
    role: Role = said("What you may do.")
    must_change_password: bool = said("True: nothing else works before `changePassword`.")
    must_set_up_totp: bool = said(
        "True: administrators need a second factor; nothing else works before `startTotp` and `confirmTotp`."
    )

    @classmethod
    def of(cls, actor: Actor) -> "Viewer":
        return cls(
            actor=actor,
            role=Role(actor.role),
            must_change_password=actor.must_change_password,
            must_set_up_totp=actor.must_set_up_totp,
        )

    @strawberry.field(description="You.")
    async def user(self, info: Info) -> User:
        return await info.context.load(self.actor.user_id)

    @strawberry.field(description="Your domain.")
    async def domain(self, info: Info) -> Annotated["Domain", strawberry.lazy("schema.domains")]:
        return await info.context.load(self.actor.domain_id)

    @strawberry.field(description="Groups that you can launch sessions in.")
    async def groups(self, info: Info) -> list[Annotated["Group", strawberry.lazy("schema.groups")]]:
        return await info.context.each("memberships", self.actor.user_id)

    @strawberry.field(description="Resource groups that you can launch sessions in.")
    async def resource_groups(
        self, info: Info
    ) -> list[Annotated["ResourceGroup", strawberry.lazy("schema.resource_groups")]]:
        return await info.context.each("usable", self.actor.user_id)

    @strawberry.field(description="The keypair whose policy limits you; null when it is gone.")
    async def keypair(self, info: Info) -> Annotated["Keypair", strawberry.lazy("schema.keypairs")] | None:
        return await info.context.find(self.actor.keypair_id)

    @strawberry.field(description="Your logins that still stand, newest first.")
    async def logins(self, info: Info) -> list[Login]:
        return await info.context.each("logins", self.actor.user_id)

    @strawberry.field(description="Public keys that let into your sessions by SSH, from their start on.")
    async def ssh_public_keys(self, info: Info) -> list[SshPublicKey]:
        user = await info.context.load(self.actor.user_id)
        return [SshPublicKey.of(key) for key in sshkeys.read(user.row.ssh_public_keys)]

    @strawberry.field(description="Recovery codes that are left to you; 0 without a second factor.")
    async def recovery_codes_left(self, info: Info) -> int:
        return sum(await info.context.each("recovery_codes", self.actor.user_id))

    @strawberry.field(description="What you may do on something at all: mutations, and `read:` with a noun.")
    def permissions(self) -> list[str]:
        return permitted(self.actor)


@strawberry.input(description="A login by e-mail address and password.")
class LoginInput:
    email: str = said("The e-mail address.")
    password: str = said("The password.")
    cookie: bool = said(
        "Keep the refresh token in an HttpOnly cookie, for browsers; else it is in the answer.", default=True
    )


@strawberry.input(description="A login by keypair.")
class LoginWithKeypairInput:
    access_key: str = said("The public part.")
    secret_key: str = said("The secret part.")
    cookie: bool = said(
        "Keep the refresh token in an HttpOnly cookie, for browsers; else it is in the answer.", default=True
    )


@strawberry.input(description="A new access token for a login.")
class RefreshLoginInput:
    refresh_token: str | None = said("By default the one in the cookie.", default=None)


@strawberry.input(description="A one-time link to be used.")
class RedeemTicketInput:
    ticket: str = said("The part of the link after #.")
    new_password: str = said("At least 8 characters with a letter, a digit and a special character.")
    cookie: bool = said(
        "Keep the refresh token in an HttpOnly cookie, for browsers; else it is in the answer.", default=True
    )


@strawberry.input(description="Somebody has forgotten the password.")
class RequestPasswordResetInput:
    email: str = said("The e-mail address of the account.")


@strawberry.input(description="A one-time link to choose a password by, without being logged in.")
class ResetPasswordInput:
    token: str = said("The part of the link after #.")
    new_password: str = said("At least 8 characters with a letter, a digit and a special character.")


@strawberry.input(description="A new password.")
class ChangePasswordInput:
    current_password: str = said("The old one.")
    new_password: str = said("At least 8 characters with a letter, a digit and a special character.")


@strawberry.input(description="Whose password shall be chosen anew.")
class CreatePasswordLinkInput:
    user_id: strawberry.ID = said("The user.")


@strawberry.input(description="An SSH key pair to be made for you.")
class GenerateSshKeypairInput:
    algorithm: SshAlgorithm = said("Of which kind.", default=SshAlgorithm.ED25519)
    add: bool = said("Keep the public keys that you have; else the new one replaces them.", default=False)


@strawberry.input(description="Your SSH public keys, all anew.")
class SetSshPublicKeysInput:
    public_keys: list[str] = said(
        "At most 20, each a line as OpenSSH writes it (`TYPE BASE64 COMMENT`), without options."
    )


@strawberry.type(description="A login of which one half is done; `confirmLogin` does the other.")
class SecondFactor:
    ticket: str = said("For `confirmLogin`, once.")
    expires_at: datetime = said("Until when.")


@strawberry.type(
    description="Somebody is logged in; or, where `secondFactor` is not null, will be after `confirmLogin`."
)
class LoginPayload:
    access_token: str | None = said(
        "For `Authorization: Bearer`, until `expiresAt`; null where a second factor is asked for."
    )
    expires_at: datetime | None = said(
        "When the access token ends; `refreshLogin` gives a new one. Null where a second factor is asked for."
    )
    refresh_token: str | None = said("For `refreshLogin`, once; null when it is in the cookie.")
    viewer: Viewer | None = said("Who is logged in; null where a second factor is asked for.")
    second_factor: SecondFactor | None = said(
        "What `confirmLogin` needs beside a code; null when the login is complete."
    )


@strawberry.input(description="The second half of a login.")
class ConfirmLoginInput:
    ticket: str = said("From `secondFactor`.")
    code: str = said("Six digits of the authenticator app, or a recovery code.")
    cookie: bool = said(
        "Keep the refresh token in an HttpOnly cookie, for browsers; else it is in the answer.", default=True
    )


@strawberry.input(description="A second factor is to be set up.")
class StartTotpInput:
    password: str | None = said("Your password; null only where you have none.", default=None)


@strawberry.type(description="A secret for an authenticator app. It does not count before `confirmTotp`.")
class StartTotpPayload:
    secret: str = said("To be typed into the app. It is shown this once.")
    url: str = said("The same as a QR code has it. It is shown this once.")
    qr_code: str = said("The URL as a QR code, an SVG document. It is shown this once.")


@strawberry.input(description="A first code of the authenticator app.")
class ConfirmTotpInput:
    code: str = said("Six digits.")


@strawberry.type(description="From now on logins by password ask for a code.")
class ConfirmTotpPayload:
    recovery_codes: list[str] = said(
        "Each opens a login once when the app is lost. They are shown this once: print them."
    )


@strawberry.input(description="Recovery codes are to be replaced.")
class RegenerateRecoveryCodesInput:
    code: str = said("Six digits of the authenticator app; a recovery code is not taken.")


@strawberry.type(description="The recovery codes from before are void.")
class RegenerateRecoveryCodesPayload:
    recovery_codes: list[str] = said(
        "Each opens a login once when the app is lost. They are shown this once: print them."
    )


@strawberry.input(description="A second factor is to be switched off.")
class DisableTotpInput:
    code: str = said("Six digits of the authenticator app, or a recovery code.")
    password: str | None = said("Your password; null only where you have none.", default=None)


@strawberry.type(description="Logins by password ask for no code any more.")
class DisableTotpPayload:
    user: User = said("You.")


@strawberry.input(description="A user who has lost the second factor.")
class ResetTotpInput:
    user_id: strawberry.ID = said("The user.")


@strawberry.type(description="The user has no second factor any more, and all their logins have ended.")
class ResetTotpPayload:
    user: User = said("The user as it is now.")


@strawberry.input(description="A login of yours to end.")
class EndLoginInput:
    id: strawberry.ID = said("The login.")


@strawberry.type(description="A login has ended.")
class EndLoginPayload:
    deleted_id: strawberry.ID = said("The login that is gone.")


@strawberry.input(description="What you may change of yourself; what is absent stays as it is.")
class UpdateProfileInput:
    name: str | None = said("A new user name.", default=None)
    full_name: str | None = said("A new full name.", default=None)
    language: str | None = said("Of mails to you: `en` or `ko`.", default=None)


@strawberry.type(description="You were changed.")
class UpdateProfilePayload:
    user: User = said("You.")


@strawberry.type(description="A login has ended.")
class LogoutPayload:
    deleted_id: strawberry.ID | None = said("The login that is gone; null when there was none.")


@strawberry.type(description="All your logins have ended.")
class LogoutEverywherePayload:
    deleted_ids: list[strawberry.ID] = said("Logins that are gone.")


@strawberry.type(description="The password was changed; all other logins have ended.")
class ChangePasswordPayload:
    access_token: str | None = said(
        "A new access token of this login, the old one is void; null for a signed request."
    )
    expires_at: datetime | None = said("When the access token ends; null for a signed request.")
    viewer: Viewer = said("You.")


@strawberry.type(description="An SSH key pair was made.")
class GenerateSshKeypairPayload:
    public_key: SshPublicKey = said("The new public key.")
    private_key: str = said(
        "In OpenSSH's form, without a passphrase. It is shown this once and kept nowhere."
    )
    viewer: Viewer = said("You, with your public keys as they are now.")


@strawberry.type(description="Your SSH public keys were replaced.")
class SetSshPublicKeysPayload:
    viewer: Viewer = said("You, with your public keys as they are now.")


@strawberry.type(description="The same answer, whether or not there is such an account.")
class RequestPasswordResetPayload:
    mail_delayed: bool = said(
        "True: the mail server does not answer just now; the mail is sent as soon as it does."
    )


@strawberry.type(description="The password was chosen, and all logins have ended; log in with it.")
class ResetPasswordPayload:
    email: str = said("What to log in with.")


@strawberry.type(description="A one-time link was made; those before it are void.")
class CreatePasswordLinkPayload:
    url: str = said("The user opens it and chooses a password. It is shown this once.")
