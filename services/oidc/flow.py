"""A login by way of a provider, from the button to the login.

    begin ──► the provider, with state, nonce and challenge ──► the callback, with code and state ──► finish
      └─ cookie: state, nonce, verifier, sealed ─────────────────────────────────┘

What the browser brings back must fit the cookie that it was given, so that nobody is logged in by a link of somebody else's.
Users are known by (issuer, subject); the first time they are found by their verified address, or made where the provider may.
"""

import hmac
import logging
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import msgspec
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from services import groups, identity_providers, ids, inputs, keypairs, mails, users
from services.auth import LoginResult, SecondFactor, logins
from services.core import Core
from services.db.tables import Domain, Identity, IdentityProvider, User
from services.errors import BerthError, Forbidden, Problems, RateLimited, Unauthenticated
from services.mails import LANGUAGES
from services.oidc.provider import Provider, Refused, open_client

log = logging.getLogger(__name__)

LIFE: Final = timedelta(minutes=10)
_BOUND_TO: Final = "oidc"
_PER_MINUTE: Final = 60
_LONGEST: Final = 4096


class _Kept(msgspec.Struct):
    """What the browser keeps meanwhile, and cannot read."""

    name: str
    state: str
    nonce: str
    verifier: str
    next: str
    until: float


@dataclass(frozen=True)
class Begun:
    #: Where the browser goes.
    url: str
    cookie: str = field(repr=False)


@dataclass(frozen=True)
class Finished:
    login: LoginResult | SecondFactor
    #: The console's page that was asked for; a path of ours.
    next: str


async def begin(core: Core, name: str, *, next_path: str, address: str) -> Begun:
    """Send a browser to a provider.

    Raises:
        NotFound: there is no such provider. Unavailable: it does not answer, or not as one. RateLimited.
    """
    wait = await core.rates.take(f"oidc:{logins.network_of(address)}", _PER_MINUTE, 60.0)
    if wait is not None:
        raise RateLimited("Too many logins were begun. Wait, then try again.", retry_after=wait)
    row = await identity_providers.find(core, name)
    kept = _Kept(
        name=row.name,
        state=secrets.token_urlsafe(32),
        nonce=secrets.token_urlsafe(32),
        verifier=secrets.token_urlsafe(48),
        next=_local(next_path),
        until=(core.now() + LIFE).timestamp(),
    )
    async with open_client() as client:
        provider = _provider(core, row, client)
        try:
            metadata = await provider.metadata()
        except Refused as error:
            raise provider.away(str(error)) from error
    url = prepare_grant_uri(
        metadata.authorization_endpoint,
        client_id=row.client_id,
        response_type="code",
        redirect_uri=provider.redirect_uri,
        scope="openid email profile",
        state=kept.state,
        nonce=kept.nonce,
        code_challenge=create_s256_code_challenge(kept.verifier),
        code_challenge_method="S256",
    )
    sealed = core.keys.seal(msgspec.json.encode(kept).decode(), _BOUND_TO)
    return Begun(url, sealed.hex())


async def finish(
    core: Core, name: str, cookie: str, answer: dict[str, str], *, address: str, user_agent: str
) -> Finished:
    """Log in with what a provider sent a browser back with.

    Raises:
        Unauthenticated: it was not begun in this browser, or took too long; or the provider refused, or says nothing
            that can be believed.
        Forbidden: the provider does not vouch for the address, or nobody here has it. NotFound, Unavailable.
    """
    kept = _kept(core, name, cookie, answer)
    row = await identity_providers.find(core, name)
    async with open_client() as client:
        provider = _provider(core, row, client)
        try:
            claims = await _claims(core, provider, kept, answer)
        except Refused as error:
            log.warning("a login by %s failed: %s", row.name, error)
            raise Unauthenticated(
                f"{row.title} has not confirmed who you are. Begin again; if it goes on, tell an administrator."
            ) from error
    try:
        login = await _enter(core, row, claims, address, user_agent)
    except IntegrityError:
        # Another window of the same person was quicker: now there is what this one wanted to make.
        login = await _enter(core, row, claims, address, user_agent)
    return Finished(login, kept.next)


def _kept(core: Core, name: str, cookie: str, answer: dict[str, str]) -> _Kept:
    """What was begun in this browser, if the answer belongs to it."""
    try:
        kept = msgspec.json.decode(
            core.keys.unseal(bytes.fromhex(cookie[: 2 * _LONGEST]), _BOUND_TO), type=_Kept
        )
    except (ValueError, msgspec.MsgspecError) as error:
        raise _stale() from error
    fits = hmac.compare_digest(kept.state.encode(), answer.get("state", "").encode(errors="replace"))
    if not fits or kept.name != name or kept.until <= core.now().timestamp():
        raise _stale()
    return kept


async def _claims(core: Core, provider: Provider, kept: _Kept, answer: dict[str, str]) -> dict[str, Any]:
    if "error" in answer or not answer.get("code"):
        raise Refused(f"it refused: {answer.get('error', '')[:100]!r}")
    metadata = await provider.metadata()
    # A code of another provider is not taken to this one (RFC 9207).
    if ("iss" in answer or metadata.names_issuer) and answer.get("iss") != provider.row.issuer:
        raise Refused("the answer is another issuer's")
    tokens = await provider.exchange(metadata, answer["code"][:_LONGEST], kept.verifier)
    claims = await provider.claims(metadata, str(tokens.get("id_token", "")), kept.nonce, core.now())
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 1 <= len(subject) <= 255 or not subject.isprintable():
        raise Refused("it has no usable subject")
    if not isinstance(claims.get("email"), str):
        more = await provider.userinfo(metadata, str(tokens.get("access_token", "")))
        if more and more.get("sub") != subject:
            raise Refused("its userinfo is about somebody else")
        claims = {**more, **claims}
    return claims


async def _enter(
    core: Core, row: IdentityProvider, claims: dict[str, Any], address: str, user_agent: str
) -> LoginResult | SecondFactor:
    """The login of whom the claims are about."""
    email = _vouched(row, claims)
    async with core.db.write() as db:
        identity = await db.scalar(
            select(Identity)
            .where(Identity.issuer == row.issuer, Identity.subject == claims["sub"])
            .with_for_update()
        )
        if identity is None:
            user = await _find_or_make(core, db, row, email, claims)
            identity = Identity(
                id=ids.new("idn"),
                issuer=row.issuer,
                subject=claims["sub"],
                user_id=user.id,
                email=email,
                linked_at=core.now(),
            )
            db.add(identity)
            await mails.write(core, db, "IDENTITY_LINKED", user.email, user.language)
        else:
            user = await db.get(User, identity.user_id)
        domain = None if user is None else await db.get(Domain, user.domain_id)
        if user is None or domain is None or not (user.active and domain.active):
            raise Forbidden("Your account here is not active. Ask an administrator.")
        identity.last_used_at = core.now()
        await db.flush()
        return await logins.enter(core, db, user, address=address, user_agent=user_agent)


def _vouched(row: IdentityProvider, claims: dict[str, Any]) -> str:
    """The address that the provider has verified, if addresses like it may come in."""
    problems = Problems()
    email = inputs.check_email(str(claims.get("email", "")), problems)
    if problems.fields or claims.get("email_verified") not in (True, "true"):
        raise Forbidden(
            f"{row.title} has not verified an e-mail address of yours. Verify it there, then come back."
        )
    if row.allowed_email_domains and email.rpartition("@")[2] not in row.allowed_email_domains:
        raise Forbidden("Addresses like yours may not come in this way. Ask an administrator.")
    return email


async def _find_or_make(
    core: Core, db: AsyncSession, row: IdentityProvider, email: str, claims: dict[str, Any]
) -> User:
    user = await db.scalar(select(User).where(User.email == email).with_for_update())
    if user is not None:
        if not user.email_verified:
            # Somebody may have signed up with an address that is not theirs, and would share the account.
            raise Forbidden(
                "There is an account with your address here that nobody has verified yet. Follow the link that was "
                "mailed, or choose a new password for it by mail; then come back."
            )
        return user
    if not row.create_users or row.domain_id is None:
        raise Forbidden("Nobody has an account with your address here. Ask an administrator for one.")
    locale = str(claims.get("locale", ""))[:2].lower()
    user = User(
        id=ids.new("usr"),
        domain_id=row.domain_id,
        email=email,
        name=_name(claims, email),
        full_name=_printable(claims.get("name")),
        role="USER",
        active=True,
        language=locale if locale in LANGUAGES else "en",
        email_verified=True,
        created_at=core.now(),
    )
    db.add(user)
    await db.flush()
    await users.add_keypair(core, db, user, await keypairs.find_policy(db, None))
    if row.group_id is not None:
        await groups.join(db, [(row.group_id, user.id)])
    return user


def _provider(core: Core, row: IdentityProvider, client: Any) -> Provider:
    return Provider(row, identity_providers.secret_of(core, row), redirect_url(core, row.name), client)


def redirect_url(core: Core, name: str) -> str:
    """What a provider has to know as ours."""
    return f"{core.settings.public_url}/auth/oidc/{name}/callback"


def _name(claims: dict[str, Any], email: str) -> str:
    return _printable(claims.get("preferred_username")) or email.partition("@")[0]


def _printable(text: Any) -> str:
    said = text if isinstance(text, str) else ""
    return "".join(one for one in said if one.isprintable()).strip()[:64]


def _local(path: str) -> str:
    """Only a path of our own: a link must not be able to send a login elsewhere."""
    good = (
        path.startswith("/")
        and not path.startswith(("//", "/\\"))
        and path.isprintable()
        and len(path) < 1000
    )
    return path if good and "\\" not in path else "/"


def _stale() -> BerthError:
    return Unauthenticated("This login was not begun in this browser, or it took too long. Begin again.")
