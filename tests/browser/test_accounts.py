"""From nobody to somebody: signing up, by mail and by invitation, and a password that was forgotten."""

import email
import email.policy
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zxingcpp
from playwright.async_api import Page, expect

from services.auth import totp
from tests.browser.visits import PATIENCE, fill_in_login, log_out, violations
from tests.flow.cluster import PASSWORD as OWNERS
from tests.flow.cluster import Cluster, eventually

pytestmark = [pytest.mark.browser, pytest.mark.sandbox]
ADA, PASSWORD, NEW_PASSWORD = "ada@example.org", "analytical-engine-1", "difference-engine-2"
SETTINGS = "mutation($i: UpdateSettingsInput!) { updateSettings(input: $i) { settings { key } } }"
#: What a picture looks like in 208 by 208 points: one channel of each.
GREYS = """image => {
    const canvas = new OffscreenCanvas(208, 208), context = canvas.getContext('2d')
    context.fillStyle = 'white'
    context.fillRect(0, 0, 208, 208)
    context.drawImage(image, 0, 0, 208, 208)
    return Array.from(context.getImageData(0, 0, 208, 208).data.filter((_, place) => place % 4 === 0))
}"""


async def settle(cluster: Cluster, **values: Any) -> None:
    client = await cluster.client()
    await client(SETTINGS, i={"settings": [{"key": key, "value": value} for key, value in values.items()]})


async def link_mailed(cluster: Cluster, path: str) -> str:
    """The link to a page that the newest mail to her has; without a mail server mails are files."""
    outbox: Path = cluster.root / "manager/outbox"

    async def find() -> str | None:
        for file in outbox.glob("*.eml") if outbox.exists() else ():
            mail = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
            body = mail.get_body(("plain",))
            found = re.search(rf"\S*{path}#\S+", body.get_content() if body else "")
            if mail["to"] == ADA and found:
                return found[0]
        return None

    return await eventually(find, f"a mail with a link to {path}", cluster.manager)


async def fill_in_account(page: Page) -> None:
    # The login that one comes from has a field of the same name.
    await expect(page.get_by_role("heading", name="Create an account")).to_be_visible(timeout=PATIENCE)
    await page.get_by_label("E-mail address").fill(ADA)
    await page.get_by_label("User name").fill("ada")
    await page.get_by_label("New password").fill(PASSWORD)
    await page.get_by_label("Repeat it").fill(PASSWORD)


async def test_somebody_signs_up_verifies_the_address_and_later_forgets_the_password(
    page: Page, cluster: Cluster
) -> None:
    await settle(
        cluster,
        signUpMode="OPEN",
        emailVerification=True,
        termsVersion="7",
        termsText="Be kind to the nodes.",
    )
    await page.goto(f"{cluster.url}/login")
    await page.get_by_role("link", name="Create an account").click()
    await fill_in_account(page)
    await expect(page.get_by_role("region", name="terms of service")).to_contain_text("Be kind to the nodes.")
    await expect(page.get_by_role("button", name="Create the account")).to_be_disabled()
    await page.get_by_role("checkbox", name="I agree to the terms of service (version 7)").check()
    await expect(page.get_by_role("button", name="Create the account")).to_be_disabled()
    await page.get_by_role("checkbox", name="I agree to the privacy policy").check()
    assert await violations(page) == []
    await page.get_by_role("button", name="Create the account").click()
    await expect(page.get_by_role("status")).to_contain_text("Follow the link", timeout=PATIENCE)

    await page.get_by_role("link", name="To the login").click()
    await expect(page.get_by_role("heading", name="Berth")).to_be_visible(timeout=PATIENCE)
    await fill_in_login(page, ADA, PASSWORD)
    await expect(page.get_by_role("alert")).to_be_visible(timeout=PATIENCE)

    await page.goto(await link_mailed(cluster, "/verify"))
    await page.get_by_role("button", name="Verify the address").click()
    await expect(page.get_by_text(f"{ADA} is verified")).to_be_visible(timeout=PATIENCE)
    await page.get_by_role("link", name="Log in").click()
    await expect(page.get_by_role("heading", name="Berth")).to_be_visible(timeout=PATIENCE)
    await fill_in_login(page, ADA, PASSWORD)
    await expect(page.get_by_role("heading", name=re.compile("Hello"))).to_be_visible(timeout=PATIENCE)
    await log_out(page)

    await page.get_by_role("link", name="Forgot your password?").click()
    await expect(page.get_by_role("heading", name="Forgotten password")).to_be_visible(timeout=PATIENCE)
    await page.get_by_label("E-mail address").fill(ADA)
    assert await violations(page) == []
    await page.get_by_role("button", name="Send the link").click()
    await expect(page.get_by_role("status")).to_contain_text(ADA, timeout=PATIENCE)
    await page.goto(await link_mailed(cluster, "/welcome"))
    await page.get_by_label("New password").fill(NEW_PASSWORD)
    await page.get_by_label("Repeat it").fill(NEW_PASSWORD)
    await page.get_by_role("button", name="Set password and enter").click()
    await expect(page.get_by_role("heading", name=re.compile("Hello"))).to_be_visible(timeout=PATIENCE)
    await log_out(page)
    await fill_in_login(page, ADA, PASSWORD)
    await expect(page.get_by_role("alert")).to_contain_text("do not match", timeout=PATIENCE)


async def test_an_invitation_lets_one_in_and_nobody_else_is(page: Page, cluster: Cluster) -> None:
    await page.goto(f"{cluster.url}/signup")
    await expect(page.get_by_text("Accounts are made by administrators here")).to_be_visible(timeout=PATIENCE)

    await settle(
        cluster, signUpMode="INVITATION", emailVerification=False, termsVersion="", privacyVersion=""
    )
    client = await cluster.client()
    domain = (await client("{ viewer { domain { id } } }"))["viewer"]["domain"]["id"]
    made = await client(
        "mutation($i: CreateInvitationTokensInput!) { createInvitationTokens(input: $i) { invitations { url } } }",
        i={"domainId": domain},
    )
    await page.goto(f"{cluster.url}/signup#nobody-gave-me-this-token")
    await page.reload()
    await fill_in_account(page)
    await page.get_by_role("button", name="Create the account").click()
    await expect(page.get_by_role("alert")).to_be_visible(timeout=PATIENCE)

    await page.goto(made["createInvitationTokens"]["invitations"][0]["url"])
    await page.reload()
    await fill_in_account(page)
    await page.get_by_role("button", name="Create the account").click()
    await expect(page.get_by_role("status")).to_contain_text("Log in with it", timeout=PATIENCE)
    await page.get_by_role("link", name="To the login").click()
    await expect(page.get_by_role("heading", name="Berth")).to_be_visible(timeout=PATIENCE)
    await fill_in_login(page, ADA, PASSWORD)
    await expect(page.get_by_role("heading", name=re.compile("Hello"))).to_be_visible(timeout=PATIENCE)


async def test_an_administrator_who_needs_a_second_factor_sets_it_up_and_logs_in_with_it(
    page: Page, cluster: Cluster
) -> None:
    await settle(cluster, adminsNeedTotp=True)
    await page.goto(cluster.url)
    await fill_in_login(page)
    dialog = page.get_by_role("dialog", name="Second factor")
    await expect(dialog).to_contain_text("Administrators need a second factor here", timeout=PATIENCE)
    await page.keyboard.press("Escape")
    await dialog.get_by_label("Current password").fill(OWNERS)
    await dialog.get_by_role("button", name="Set it up").click()
    secret = await dialog.locator("pre").inner_text(timeout=PATIENCE)
    picture = await dialog.get_by_role("img", name="QR code").evaluate(GREYS)
    (scanned,) = zxingcpp.read_barcodes(np.array(picture, dtype=np.uint8).reshape(208, 208))
    assert f"secret={secret}" in scanned.text
    assert await violations(page) == []
    await dialog.get_by_label("Code").fill("000000")
    await dialog.get_by_role("button", name="Confirm").click()
    await expect(dialog.get_by_role("alert")).to_be_visible(timeout=PATIENCE)
    await dialog.get_by_label("Code").fill(totp.code(secret, totp.step_at(datetime.now(UTC))))
    await dialog.get_by_role("button", name="Confirm").click()
    await expect(dialog.locator("code")).to_have_count(10, timeout=PATIENCE)
    (first, *_) = await dialog.locator("code").all_inner_texts()
    await dialog.get_by_role("button", name="I have kept them").click()
    await expect(dialog).to_be_hidden(timeout=PATIENCE)
    await expect(page.get_by_role("heading", name=re.compile("Hello"))).to_be_visible(timeout=PATIENCE)
    await log_out(page)

    await fill_in_login(page)
    await page.get_by_label("Code").fill(first)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("heading", name=re.compile("Hello"))).to_be_visible(timeout=PATIENCE)
