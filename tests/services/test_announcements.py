"""Announcements: who reads them when, who writes them, and what one may be."""

from datetime import timedelta
from typing import Any

import pytest

from services import announcements
from services.announcements import AnnouncementChanges, AnnouncementFilter, AnnouncementSpec
from services.core import Core
from services.errors import BadInput, Forbidden, NotFound
from services.paging import PageArgs
from services.permissions import Actor
from tests.factories import Factories


async def titles(core: Core, actor: Actor, **where: Any) -> set[str]:
    page = await announcements.page(core, actor, AnnouncementFilter(**where), [], PageArgs())
    return {row.title for row in page.rows}


async def test_people_read_what_is_on_for_them_and_administrators_what_they_govern(
    core: Core, make: Factories
) -> None:
    domain, other = await make.domain(), await make.domain()
    hour = timedelta(hours=1)
    for whose, place in ((None, "all"), (domain, "ours"), (other, "theirs")):
        await make.announcement(domain=whose, title=f"{place} now")
        await make.announcement(domain=whose, title=f"{place} later", starts_at=core.now() + hour)
        await make.announcement(domain=whose, title=f"{place} over", ends_at=core.now() - hour / 2)
    user = make.actor(await make.user(domain=domain))
    admin = make.actor(await make.user(domain=domain, role="DOMAIN_ADMIN"))
    superadmin = await make.superadmin(domain=domain)
    assert await titles(core, user) == {"all now", "ours now"}
    assert await titles(core, admin) == {"all now", "ours now", "ours later", "ours over"}
    assert len(await titles(core, superadmin)) == 9
    assert await titles(core, superadmin, active=True) == {"all now", "ours now", "theirs now"}
    assert await titles(core, admin, active=False) == {"ours later", "ours over"}


async def test_an_administrator_announces_to_the_own_domain_and_a_superadmin_to_all(
    core: Core, make: Factories
) -> None:
    domain, other = await make.domain(), await make.domain()
    admin = make.actor(await make.user(domain=domain, role="DOMAIN_ADMIN"))
    made = await announcements.create(core, admin, AnnouncementSpec("  Hello ", "*a*", domain_id=domain.id))
    assert (made.title, made.author_id, made.ends_at) == ("Hello", admin.user_id, None)
    with pytest.raises(Forbidden):
        await announcements.create(core, admin, AnnouncementSpec("t"))
    with pytest.raises(NotFound):
        await announcements.create(core, admin, AnnouncementSpec("t", domain_id=other.id))
    with pytest.raises(Forbidden):
        await announcements.create(core, make.actor(await make.user()), AnnouncementSpec("t"))
    superadmin = await make.superadmin()
    to_all = await announcements.create(core, superadmin, AnnouncementSpec("t", severity="CRITICAL"))
    for act in (
        announcements.edit(core, admin, to_all.id, AnnouncementChanges(title="mine")),
        announcements.delete(core, admin, to_all.id),
    ):
        with pytest.raises(Forbidden):
            await act
    assert await announcements.delete(core, superadmin, to_all.id) == to_all.id
    assert await make.fresh(to_all) is None


async def test_what_is_wrong_is_named_and_changes_nothing(core: Core, make: Factories) -> None:
    admin, at = await make.superadmin(), core.now()
    wrong = AnnouncementSpec("two\nlines", "x" * 20_000, "LOUD", starts_at=at, ends_at=at)
    with pytest.raises(BadInput) as refused:
        await announcements.create(core, admin, wrong)
    assert {path for path, _ in refused.value.fields} == {
        "input.title", "input.text", "input.severity", "input.endsAt",
    }  # fmt: skip
    row = await make.announcement(ends_at=at + timedelta(days=1))
    with pytest.raises(BadInput):
        await announcements.edit(core, admin, row.id, AnnouncementChanges(starts_at=at + timedelta(days=2)))
    assert (await make.fresh(row)).starts_at == row.starts_at
    edited = await announcements.edit(
        core, admin, row.id, AnnouncementChanges(text="line\n\ttab", ends_at=None)
    )
    assert (edited.text, edited.ends_at, edited.title) == ("line\n\ttab", None, row.title)
    again = AnnouncementSpec("once", idempotency_key="k")
    first, second = [await announcements.create(core, admin, again) for _ in range(2)]
    assert first.id == second.id
