"""What mails say, in each language: plain text, and the same as simple HTML.

Nothing that somebody else chose goes into them, not even the recipient's name: who signs up with a stranger's address
must not write the stranger a letter. What goes in is the address of this installation, a link, and a time.
"""

import html
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Template:
    """`{site}`, `{link}` and `{hours}` stand for what they say."""

    subject: str
    before: tuple[str, ...]
    #: What the link is called where links can be called something; empty: there is none.
    link: str
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Content:
    subject: str
    text: str
    html: str


LANGUAGES: Final = ("en", "ko")

_IGNORE_EN: Final = "If you did not ask for this, ignore this mail: nothing changes."
_IGNORE_KO: Final = "요청하신 적이 없다면 이 메일을 무시하세요. 아무것도 바뀌지 않습니다."

#: Kind → language → what it says.
KINDS: Final[dict[str, dict[str, Template]]] = {
    "PASSWORD_RESET": {
        "en": Template(
            "Choose a new password for Berth",
            ("Somebody, probably you, asked for a new password for your account at {site}.",),
            "Choose a new password",
            ("The link works once, within {hours} hours. All your logins end with it.", _IGNORE_EN),
        ),
        "ko": Template(
            "Berth 비밀번호 재설정",
            ("{site} 계정의 새 비밀번호 요청을 받았습니다.",),
            "새 비밀번호 설정",
            (
                "이 링크는 {hours}시간 안에 한 번만 사용할 수 있으며, 설정하면 모든 로그인이 종료됩니다.",
                _IGNORE_KO,
            ),
        ),
    },
    "EMAIL_VERIFICATION": {
        "en": Template(
            "Verify your address for Berth",
            ("Somebody, probably you, signed up at {site} with this address.",),
            "Verify the address",
            ("The link works once, within {hours} hours. Log in after that.", _IGNORE_EN),
        ),
        "ko": Template(
            "Berth 이메일 주소 확인",
            ("이 주소로 {site}에 가입 신청이 접수되었습니다.",),
            "이메일 주소 확인",
            ("이 링크는 {hours}시간 안에 한 번만 사용할 수 있습니다. 확인 후 로그인하세요.", _IGNORE_KO),
        ),
    },
    "WELCOME": {
        "en": Template(
            "Your account at Berth",
            ("Somebody, probably you, signed up at {site} with this address. You can log in now.",),
            "Verify the address",
            (
                "Following the link tells that the address is yours. It works once, within {hours} hours.",
                "If it was not you, tell an administrator.",
            ),
        ),
        "ko": Template(
            "Berth 계정이 만들어졌습니다",
            ("이 주소로 {site}에 가입되었습니다. 이제 로그인할 수 있습니다.",),
            "이메일 주소 확인",
            (
                "링크를 열면 본인의 주소임이 확인됩니다. {hours}시간 안에 한 번만 사용할 수 있습니다.",
                "본인이 가입한 것이 아니라면 관리자에게 알려 주세요.",
            ),
        ),
    },
    "ADDRESS_IN_USE": {
        "en": Template(
            "You have an account at Berth",
            (
                "Somebody, probably you, tried to sign up at {site} with this address, which has an account already.",
            ),
            "Log in",
            (
                "Nothing has changed. If you do not know the password, have a link mailed to choose another one.",
                "If it was not you, ignore this mail.",
            ),
        ),
        "ko": Template(
            "이미 Berth 계정이 있습니다",
            ("이 주소로 {site}에 가입 신청이 있었지만, 이미 계정이 있습니다.",),
            "로그인",
            (
                "아무것도 바뀌지 않았습니다. 비밀번호를 모른다면 재설정 링크를 요청하세요.",
                "본인이 신청한 것이 아니라면 이 메일을 무시하세요.",
            ),
        ),
    },
    "IDENTITY_LINKED": {
        "en": Template(
            "A new way to log in to Berth",
            (
                "From now on you can log in at {site} by way of an identity provider, which has proved this address.",
                "If it was not you who did that just now, tell an administrator at once.",
            ),
            "",
        ),
        "ko": Template(
            "Berth에 새로운 로그인 방법이 추가되었습니다",
            (
                "이제 이 주소를 확인해 준 인증 제공자를 통해 {site}에 로그인할 수 있습니다.",
                "본인이 한 것이 아니라면 즉시 관리자에게 알려 주세요.",
            ),
            "",
        ),
    },
    "PASSWORD_CHANGED": {
        "en": Template(
            "Your Berth password was changed",
            (
                "The password of your account at {site} was changed just now, by a link that was mailed to you.",
                "All your logins have ended. If it was not you, tell an administrator at once.",
            ),
            "",
        ),
        "ko": Template(
            "Berth 비밀번호가 변경되었습니다",
            (
                "메일로 보내 드린 링크를 통해 {site} 계정의 비밀번호가 변경되었습니다.",
                "모든 로그인이 종료되었습니다. 본인이 변경한 것이 아니라면 즉시 관리자에게 알려 주세요.",
            ),
            "",
        ),
    },
}


def render(kind: str, language: str, *, site: str, link: str = "", hours: int = 0) -> Content:
    """A mail's subject and texts; in English where the language is not known."""
    said = KINDS[kind]
    template = said.get(language) or said["en"]
    values = {"site": site, "hours": str(hours)}
    before = [part.format(**values) for part in template.before]
    after = [part.format(**values) for part in template.after]
    linked = [f"{template.link}:\n{link}"] if template.link else []
    text = "\n\n".join([*before, *linked, *after, f"-- \nBerth, {site}"])
    paragraphs = [f"<p>{html.escape(part)}</p>" for part in before]
    if template.link:
        paragraphs.append(f'<p><a href="{html.escape(link)}">{html.escape(template.link)}</a></p>')
        paragraphs.append(f"<p><small>{html.escape(link)}</small></p>")
    paragraphs += [f"<p>{html.escape(part)}</p>" for part in after]
    body = "\n".join([*paragraphs, f"<p><small>Berth, {html.escape(site)}</small></p>"])
    lang = language if language in said else "en"
    return Content(
        template.subject,
        text + "\n",
        f'<!doctype html>\n<html lang="{lang}"><meta charset="utf-8"><body>\n{body}\n</body></html>\n',
    )
