"""Requests that scripts sign: each once, as it was sent, by who has the secret key."""

import asyncio
import contextlib
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from services import auth
from services.core import Core
from services.db.tables import Keypair, Nonce, User
from services.errors import RateLimited, Unauthenticated
from services.permissions import Actor
from services.ratelimits import Quota
from tests.factories import SECRET_KEY, Clock, Factories
from tests.services.forgeries import BODY, REQUEST, Forger, request_forger


async def send(
    core: Core, token: str, *, method: str = "POST", path: str = "/graphql", body: bytes = BODY
) -> Actor:
    assert auth.is_signed_request(core, token)
    return await auth.authenticate_request(core, token, method=method, path=path, body=body)


async def signer(core: Core, make: Factories, **more: object) -> tuple[User, Keypair, Forger]:
    user = await make.user()
    keypair = await make.keypair(user=user, **more)
    return user, keypair, request_forger(keypair.access_key, SECRET_KEY, core.now())


async def test_a_signed_request_is_its_keypairs(core: Core, make: Factories) -> None:
    user, keypair, forger = await signer(core, make)
    actor = await send(core, forger.good())
    assert (actor.user_id, actor.keypair_id, actor.login_id) == (user.id, keypair.id, "")


async def test_it_is_counted(core: Core, make: Factories, clock: Clock) -> None:
    _, keypair, forger = await signer(core, make)
    await send(core, forger.good(jti="first-one"))
    clock.advance(timedelta(seconds=5))
    await send(core, forger.good(jti="second-one"))
    assert (await make.fresh(keypair)).query_count == 0  # no write for each request
    await auth.keep_books(core)
    row = await make.fresh(keypair)
    assert (row.query_count, row.last_used_at) == (2, clock.now())


async def test_forged_requests_are_refused_and_leave_no_trace(core: Core, make: Factories) -> None:
    _, keypair, forger = await signer(core, make)
    believed: list[str] = []
    for wrong, forge in REQUEST.items():
        with contextlib.suppress(Unauthenticated):
            await auth.authenticate_request(core, forge(forger), method="POST", path="/graphql", body=BODY)
            believed.append(wrong)
    assert believed == []
    async with core.db.read() as db:
        assert await db.scalar(select(func.count()).select_from(Nonce)) == 0
    await auth.keep_books(core)
    assert (await make.fresh(keypair)).query_count == 0
    assert await send(core, forger.good())


@pytest.mark.parametrize(
    "sent", [{"method": "GET"}, {"path": "/graphql?query={x}"}, {"path": "/files"}, {"body": b"{}"}]
)
async def test_a_request_that_was_changed_on_its_way_is_refused(
    core: Core, make: Factories, sent: dict[str, object]
) -> None:
    _, _, forger = await signer(core, make)
    with pytest.raises(Unauthenticated):
        await send(core, forger.good(), **sent)  # type: ignore[arg-type]


async def test_a_request_works_once(core: Core, make: Factories, clock: Clock) -> None:
    _, keypair, forger = await signer(core, make)
    token = forger.good()
    assert await send(core, token)
    for _ in range(6):
        with pytest.raises(Unauthenticated):
            await send(core, token)
        clock.advance(timedelta(seconds=20))
    assert await send(
        core, request_forger(keypair.access_key, SECRET_KEY, clock.now()).good(jti="another-one")
    )


async def test_of_one_request_sent_many_times_at_once_one_is_answered(core: Core, make: Factories) -> None:
    _, keypair, forger = await signer(core, make)
    token = forger.good()
    outcomes = await asyncio.gather(*(send(core, token) for _ in range(10)), return_exceptions=True)
    assert Counter(type(outcome) for outcome in outcomes) == {Actor: 1, Unauthenticated: 9}
    await auth.keep_books(core)
    assert (await make.fresh(keypair)).query_count == 1


async def test_a_nonce_is_kept_as_long_as_its_token_could_be_used(
    core: Core, make: Factories, clock: Clock
) -> None:
    _, _, forger = await signer(core, make)
    token = forger.good()
    assert await send(core, token)
    clock.advance(timedelta(seconds=89))
    await auth.purge(core)
    with pytest.raises(Unauthenticated, match="before"):
        await send(core, token)


async def test_two_keypairs_may_use_the_same_nonce(core: Core, make: Factories) -> None:
    for _ in range(2):
        _, _, forger = await signer(core, make)
        assert await send(core, forger.good())


@pytest.mark.parametrize("what", ["keypair", "user", "domain"])
async def test_what_is_not_active_signs_nothing(core: Core, make: Factories, what: str) -> None:
    domain = await make.domain(active=what != "domain")
    user = await make.user(domain=domain, active=what != "user")
    keypair = await make.keypair(user=user, active=what != "keypair")
    with pytest.raises(Unauthenticated):
        await send(core, request_forger(keypair.access_key, SECRET_KEY, core.now()).good())


async def test_a_secret_that_was_swapped_in_the_database_is_noticed(core: Core, make: Factories) -> None:
    """Who can write to the database, but not read the secrets file, cannot make a keypair one's own."""
    _, mine, _ = await signer(core, make)
    _, _, victim = await signer(core, make, secret_encrypted=mine.secret_encrypted)
    with pytest.raises(ValueError, match="sealed for something else"):
        await send(core, victim.good())


async def test_beyond_the_rate_limit_it_says_when_to_retry(core: Core, make: Factories, clock: Clock) -> None:
    _, keypair, forger = await signer(core, make, rate_limit=3)
    for number in range(3):
        assert await send(core, forger.good(jti=f"number-{number}"))
    with pytest.raises(RateLimited) as refused:
        await send(core, forger.good(jti="number-3"))
    wait = refused.value.extra["retry_after"]
    assert 15 * 60 <= wait <= 15 * 60 + 30
    await auth.keep_books(core)
    assert (await make.fresh(keypair)).query_count == 3
    clock.advance(timedelta(seconds=wait))
    later = request_forger(keypair.access_key, SECRET_KEY, core.now())
    assert await send(core, later.good(jti="number-4"))


async def test_who_replays_does_not_use_the_limit_up(core: Core, make: Factories, clock: Clock) -> None:
    _, _, forger = await signer(core, make, rate_limit=2)
    token = forger.good()
    await send(core, token)
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await send(core, token)
    assert await send(core, forger.good(jti="another-one"))


async def test_browsers_and_scripts_share_the_limit_of_a_keypair(
    core: Core, make: Factories, clock: Clock
) -> None:
    user = await make.user(rate_limit=2)
    result = await auth.login(core, user.email, "right-horse-1", address="192.0.2.1")
    await auth.authenticate_bearer(core, result.access_token)
    main = await make.fresh(await _main(core, user))
    await send(core, request_forger(main.access_key, SECRET_KEY, core.now()).good())
    with pytest.raises(RateLimited):
        await auth.authenticate_bearer(core, result.access_token)


async def test_a_browsers_requests_are_written_down_together(
    core: Core, make: Factories, clock: Clock
) -> None:
    user = await make.user()
    result = await auth.login(core, user.email, "right-horse-1", address="192.0.2.1")
    for _ in range(5):
        await auth.authenticate_bearer(core, result.access_token)
    await auth.keep_books(core)
    await auth.keep_books(core)
    main = await _main(core, user)
    assert (main.query_count, main.last_used_at) == (5, clock.now())


async def test_operations_of_an_open_connection_are_counted_like_requests(
    core: Core, make: Factories, clock: Clock
) -> None:
    user = await make.user(rate_limit=3)
    result = await auth.login(core, user.email, "right-horse-1", address="192.0.2.1")
    actor = await auth.authenticate_bearer(core, result.access_token)
    await auth.count_operation(core, actor)
    await auth.count_operation(core, actor)
    with pytest.raises(RateLimited):
        await auth.count_operation(core, actor)
    await auth.keep_books(core)
    assert (await _main(core, user)).query_count == 3
    await auth.logout(core, actor)
    with pytest.raises(Unauthenticated):
        await auth.count_operation(core, actor)


async def test_the_counter_is_told_with_each_request_and_with_the_refusal(
    core: Core, make: Factories, clock: Clock
) -> None:
    _, _, forger = await signer(core, make, rate_limit=2)
    told: list[Quota] = []

    async def ask(jti: str) -> None:
        await auth.authenticate_request(
            core, forger.good(jti=jti), method="POST", path="/graphql", body=BODY, told=told.append
        )

    await ask("number-0")
    await ask("number-1")
    with pytest.raises(RateLimited) as refused:
        await ask("number-2")
    assert [(one.limit, one.remaining) for one in told] == [(2, 1), (2, 0), (2, 0)]
    assert told[-1].wait == told[-1].reset == refused.value.extra["retry_after"]


async def test_a_later_use_that_another_manager_has_written_down_stays(
    core: Core, make: Factories, clock: Clock
) -> None:
    later = clock.now() + timedelta(minutes=1)
    keypair = await make.keypair(last_used_at=later)
    core.uses.note(keypair.id, clock.now())
    await auth.keep_books(core)
    row = await make.fresh(keypair)
    assert (row.query_count, row.last_used_at) == (1, later)


async def test_counts_survive_a_database_that_is_away(core: Core, make: Factories) -> None:
    user = await make.user()
    core.uses.note(user.main_keypair_id or "", core.now())

    class Away:
        def write(self) -> object:
            raise OSError("away")

    with pytest.raises(OSError, match="away"):
        await core.uses.flush(Away())  # type: ignore[arg-type]
    await core.uses.flush(core.db)
    assert (await _main(core, user)).query_count == 1


async def _main(core: Core, user: User) -> Keypair:
    async with core.db.read() as db:
        return (await db.scalars(select(Keypair).where(Keypair.id == user.main_keypair_id))).one()


@pytest.mark.parametrize("why", ["keypair", "user", "role", "nothing"])
async def test_a_connection_that_was_opened_by_a_signature_lasts_as_long_as_it_means_the_same(
    core: Core, make: Factories, clock: Clock, why: str
) -> None:
    user, keypair, forger = await signer(core, make, rate_limit=2)
    actor = await send(core, forger.good())
    assert await auth.still_is(core, actor)
    async with core.db.write() as db:
        if why == "keypair":
            (await db.get_one(Keypair, keypair.id)).active = False
        elif why == "user":
            (await db.get_one(User, user.id)).active = False
        elif why == "role":
            (await db.get_one(User, user.id)).role = "DOMAIN_ADMIN"
    core.standings.forget(user.id)
    assert await auth.still_is(core, actor) is (why == "nothing")
    if why == "nothing":
        # The limit is that of the keypair, not of the main one.
        await auth.count_operation(core, actor)
        with pytest.raises(RateLimited):
            await auth.count_operation(core, actor)
