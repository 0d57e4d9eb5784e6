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
