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
    "ACCOUNT_MADE": {
        "en": Template(
            "Your account at Berth",
            ("An administrator has made an account for you at {site}; this address is your name there.",),
            "Choose a password",
            (
                "The link works once, within {hours} hours. After that, have another mailed on the login page.",
            ),
        ),
        "ko": Template(
            "Berth 계정이 만들어졌습니다",
            ("관리자가 {site}에 계정을 만들었습니다. 이 이메일 주소로 로그인합니다.",),
            "비밀번호 설정",
            (
                "이 링크는 {hours}시간 안에 한 번만 사용할 수 있습니다. 그 후에는 로그인 화면에서 새 링크를 요청하세요.",
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
    "IDENTITY_UNLINKED": {
        "en": Template(
            "A way to log in to Berth was removed",
            (
                "An identity provider that let you in at {site} is not linked to your account any more.",
                "Your other logins have ended.",
                "If neither you nor an administrator of yours did that, tell an administrator at once.",
            ),
            "",
        ),
        "ko": Template(
            "Berth 로그인 방법이 삭제되었습니다",
            (
                "{site}에 로그인할 때 쓰던 인증 제공자와 계정의 연결이 해제되었습니다.",
                "다른 로그인은 모두 종료되었습니다.",
                "본인이나 관리자가 한 것이 아니라면 즉시 관리자에게 알려 주세요.",
            ),
            "",
        ),
    },
    "TOTP_DISABLED": {
        "en": Template(
            "Your second factor for Berth was switched off",
            (
                "The second factor of your account at {site} was switched off just now, by a code of yours.",
                "Logins by password ask for no code any more. If it was not you, tell an administrator at once.",
            ),
            "",
        ),
        "ko": Template(
            "Berth 2단계 인증이 해제되었습니다",
            (
                "{site} 계정의 2단계 인증이 본인의 인증 코드로 해제되었습니다.",
                "이제 비밀번호만으로 로그인할 수 있습니다. 본인이 한 것이 아니라면 즉시 관리자에게 알려 주세요.",
            ),
            "",
        ),
    },
    "TOTP_RESET": {
        "en": Template(
            "An administrator reset your second factor for Berth",
            (
                "An administrator has taken the second factor from your account at {site}, and your logins have ended.",
                "If you did not ask for that, tell another administrator at once.",
            ),
            "",
        ),
        "ko": Template(
            "관리자가 Berth 2단계 인증을 초기화했습니다",
            (
                "관리자가 {site} 계정의 2단계 인증을 해제했고, 모든 로그인이 종료되었습니다.",
                "요청하신 적이 없다면 즉시 다른 관리자에게 알려 주세요.",
            ),
            "",
        ),
    },
    "RECOVERY_CODES_REPLACED": {
        "en": Template(
            "New recovery codes for Berth",
            (
                "The recovery codes of your account at {site} were replaced just now; those from before are void.",
                "If it was not you, tell an administrator at once.",
            ),
            "",
        ),
        "ko": Template(
            "Berth 복구 코드가 새로 만들어졌습니다",
            (
                "{site} 계정의 복구 코드가 새로 만들어졌고, 이전 복구 코드는 더 이상 쓸 수 없습니다.",
                "본인이 한 것이 아니라면 즉시 관리자에게 알려 주세요.",
            ),
            "",
        ),
    },
    "RECOVERY_CODE_USED": {
        "en": Template(
            "A recovery code for Berth was used",
            (
                "A recovery code of your account at {site} was used just now in place of the authenticator app.",
                "It is void. If it was not you, change your password and tell an administrator at once.",
            ),
            "",
        ),
        "ko": Template(
            "Berth 복구 코드가 사용되었습니다",
            (
                "{site} 계정에서 인증 앱 대신 복구 코드가 사용되었습니다. 사용한 코드는 다시 쓸 수 없습니다.",
                "본인이 한 것이 아니라면 비밀번호를 바꾸고 즉시 관리자에게 알려 주세요.",
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
