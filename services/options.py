"""What an administrator sets while managers run: every such setting is declared here, and nowhere else.

    built-in default ◀── berth.toml, BERTH_SIGN_UP, BERTH_SETTINGS ◀── stored by updateSettings     (later wins)

`core.options.value(SIGN_UP_MODE)` is a look into memory, cheap enough for every request; `services.settings` fills the book
from the database at the start, after each change, and again and again. Not to be mixed up with `core.settings`: those are
the manager's own constants (`services.core.Settings`), which no administrator sees.

A new setting is one constant below, and whatever reads it. A key never changes: it is what the database has.
"""

import asyncio
import ipaddress
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Generic, TypeVar

from services import inputs

log = logging.getLogger(__name__)

T = TypeVar("T")

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_SENDER: Final = re.compile(r"[^<>]{0,64}<([^<>]+)>|([^<>]+)")
_LONGEST_TEXT: Final = 255
_LONGEST_DOCUMENT: Final = 64 * 1024
_UNSTORABLE: Final = re.compile(r"[\x00\ud800-\udfff]")


class Kind(Enum):
    BOOLEAN = "BOOLEAN"
    INTEGER = "INTEGER"
    CHOICE = "CHOICE"
    TEXT = "TEXT"
    #: A text that can be written and never read.
    SECRET = "SECRET"  # noqa: S105  # the name of a kind


class Section(Enum):
    """What belongs together on a form."""

    ACCOUNTS = "ACCOUNTS"
    MAIL = "MAIL"
    SESSIONS = "SESSIONS"
    DEFAULTS = "DEFAULTS"
    RECORDS = "RECORDS"


@dataclass(frozen=True)
class Option(Generic[T]):
    """A setting. `read` makes a value of it from what a client, a file or the database has."""

    key: str
    section: Section
    kind: Kind
    default: T
    #: For the administrator: what it does, and what it does not.
    description: str
    #: `seconds`, `days` …; empty: none.
    unit: str = ""
    least: int | None = None
    most: int | None = None
    choices: tuple[str, ...] = ()
    #: Characters of a text; one that may have more than usual may have several lines.
    longest: int = _LONGEST_TEXT
    #: More about a value that is not empty: says what would be right, None when it is.
    check: Callable[[Any], str | None] | None = None

    @property
    def secret(self) -> bool:
        return self.kind is Kind.SECRET

    def read(self, given: object) -> T:
        """The value.

        Raises:
            ValueError: it is none of this setting's; the message says what would be.
        """
        return self._read(given)  # pyright: ignore[reportReturnType]  # a constructor below pairs the kind with its type

    def _read(self, given: object) -> object:
        match self.kind:
            case Kind.BOOLEAN:
                if not isinstance(given, bool):
                    raise ValueError("True or false.")  # noqa: TRY004  # wrong for this setting, whatever it is
            case Kind.INTEGER:
                low, high = self.least or 0, self.most or 0
                if isinstance(given, bool) or not isinstance(given, int) or not low <= given <= high:
                    raise ValueError(f"A whole number between {low} and {high}.")
            case Kind.CHOICE:
                if given not in self.choices:
                    raise ValueError(f"One of {', '.join(self.choices)}.")
            case Kind.TEXT if self.longest > _LONGEST_TEXT:
                if not isinstance(given, str) or len(given) > self.longest or _UNSTORABLE.search(given):
                    raise ValueError(f"At most {self.longest} characters, without null characters.")
            case Kind.TEXT | Kind.SECRET:
                if not isinstance(given, str) or len(given) > _LONGEST_TEXT or _CONTROL.search(given):
                    raise ValueError(f"At most {_LONGEST_TEXT} characters on one line.")
        if given and self.check is not None and (problem := self.check(given)):
            raise ValueError(problem)
        return given


#: Key → setting, in the order in which they are shown.
OPTIONS: Final[dict[str, Option[Any]]] = {}


def _declared(option: Option[T]) -> Option[T]:
    if OPTIONS.setdefault(option.key, option) is not option:
        raise AssertionError(f"two settings are called {option.key}")
    return option


def _switch(key: str, section: Section, default: bool, description: str) -> Option[bool]:
    return _declared(Option(key, section, Kind.BOOLEAN, default, description))


def _number(
    key: str,
    section: Section,
    default: int,
    description: str,
    *,
    least: int,
    most: int,
    unit: str = "",
    check: Callable[[int], str | None] | None = None,
) -> Option[int]:
    return _declared(Option(key, section, Kind.INTEGER, default, description, unit, least, most, check=check))


def _choice(key: str, section: Section, choices: tuple[str, ...], description: str) -> Option[str]:
    """The first choice is the default."""
    return _declared(Option(key, section, Kind.CHOICE, choices[0], description, choices=choices))


def _text(
    key: str,
    section: Section,
    description: str,
    *,
    default: str = "",
    check: Callable[[str], str | None] | None = None,
) -> Option[str]:
    return _declared(Option(key, section, Kind.TEXT, default, description, check=check))


def _document(key: str, section: Section, description: str, default: str) -> Option[str]:
    """A text of several lines."""
    return _declared(Option(key, section, Kind.TEXT, default, description, longest=_LONGEST_DOCUMENT))


def _secret(key: str, section: Section, description: str) -> Option[str]:
    return _declared(Option(key, section, Kind.SECRET, "", description))


def _url(text: str) -> str | None:
    return (
        None
        if re.fullmatch(r"https?://[^\s<>\"]+", text)
        else "An address that begins with https:// or http://."
    )


def _host(text: str) -> str | None:
    if _HOST.fullmatch(text) or _is_address(text):
        return None
    return "A host name or an address, without a port."


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _sender(text: str) -> str | None:
    found = _SENDER.fullmatch(text)
    address = (found.group(1) or found.group(2)).strip().lower() if found else ""
    if inputs.EMAIL.fullmatch(address):
        return None
    return "An e-mail address, or a name with one: Berth <berth@example.org>."


def _idle(seconds: int) -> str | None:
    least = inputs.SHORTEST_IDLE
    return (
        None if seconds >= least else f"0 (never), or a whole number from {least} to {inputs.LONGEST_IDLE}."
    )


# ── accounts ───────────────────────────────────────────────────────────────────────────────────────────────────────────

SIGN_UP_MODE: Final = _choice(
    "signUpMode", Section.ACCOUNTS, ("CLOSED", "INVITATION", "OPEN"),
    "Who may make an account: nobody but administrators, who has an invitation token, or everybody.",
)  # fmt: skip
EMAIL_VERIFICATION: Final = _switch(
    "emailVerification", Section.ACCOUNTS, True,
    "Who has signed up can log in only after following the link that was mailed to the address.",
)  # fmt: skip
SIGN_UP_DOMAIN: Final = _text(
    "signUpDomain", Section.ACCOUNTS,
    "The domain, by its name, that people join who sign up without an invitation. Empty: `default`, or the oldest.",
)  # fmt: skip
SIGN_UP_GROUP: Final = _text(
    "signUpGroup", Section.ACCOUNTS,
    "The group of that domain, by its name, that they become members of. Empty: `default`, where there is one.",
)  # fmt: skip
TERMS_VERSION: Final = _text(
    "termsVersion", Section.ACCOUNTS,
    "The version of the terms of service that people agree to when they sign up; change it with the text. "
    "Empty: nobody is asked.", default="1",
)  # fmt: skip
TERMS_TEXT: Final = _document(
    "termsText", Section.ACCOUNTS, "The terms of service, in plain text.",
    "The administrators of this installation have not written terms of service of their own.\n\n"
    "You use it as it is, without warranty. Run nothing on it that is against the law or against the rules of who "
    "operates it, keep your password and keys to yourself, and keep copies of what you cannot lose.\n",
)  # fmt: skip
TERMS_URL: Final = _text(
    "termsUrl", Section.ACCOUNTS, "Where the terms of service can be read, if they are a page elsewhere.",
    check=_url,
)  # fmt: skip
PRIVACY_VERSION: Final = _text(
    "privacyVersion", Section.ACCOUNTS,
    "The version of the privacy policy that people agree to when they sign up; change it with the text. "
    "Empty: nobody is asked.", default="1",
)  # fmt: skip
PRIVACY_TEXT: Final = _document(
    "privacyText", Section.ACCOUNTS, "The privacy policy, in plain text.",
    "The administrators of this installation have not written a privacy policy of their own.\n\n"
    "Kept are: your e-mail address and names, a hash of your password, from where and with which program you log in, "
    "your sessions with what they used, and what you store in your folders. Administrators of your domain see "
    "all of it but passwords and keys.\n",
)  # fmt: skip
PRIVACY_URL: Final = _text(
    "privacyUrl", Section.ACCOUNTS, "Where the privacy policy can be read, if it is a page elsewhere.",
    check=_url,
)  # fmt: skip
PASSWORD_RESET: Final = _switch(
    "passwordReset", Section.ACCOUNTS, True,
    "Who has forgotten the password may have a link mailed to choose another one.",
)  # fmt: skip
ADMINS_NEED_TOTP: Final = _switch(
    "adminsNeedTotp", Section.ACCOUNTS, False,
    "Administrators need a second factor; who has none yet has to set one up before anything else.",
)  # fmt: skip
LOGIN_ATTEMPTS: Final = _number(
    "loginAttempts", Section.ACCOUNTS, 5,
    "Failed logins on one account from one address before the next has to wait, longer each time up to 15 minutes.",
    least=1, most=1000,
)  # fmt: skip
LOGIN_ATTEMPTS_OF_ADDRESS: Final = _number(
    "loginAttemptsOfAddress", Section.ACCOUNTS, 60,
    "Failed logins from one address, on whatever accounts, before the next has to wait, up to a minute. "
    "Raise it where many people share one address.",
    least=1, most=100_000,
)  # fmt: skip

# ── mail ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

MAIL_HOST: Final = _text(
    "mailHost", Section.MAIL,
    "The SMTP server. Empty: mails are written to the folder `outbox` in the manager's data directory.", check=_host,
)  # fmt: skip
MAIL_PORT: Final = _number(
    "mailPort", Section.MAIL, 587, "The SMTP server's port.", least=1, most=65535,
)  # fmt: skip
MAIL_SECURITY: Final = _choice(
    "mailSecurity", Section.MAIL, ("STARTTLS", "TLS", "NONE"),
    "How the connection is kept from being read: turned into TLS (STARTTLS), TLS from the beginning, or not at all.",
)  # fmt: skip
MAIL_USER: Final = _text(
    "mailUser", Section.MAIL, "The name that the SMTP server asks for. Empty: it asks for none.",
)  # fmt: skip
MAIL_PASSWORD: Final = _secret(
    "mailPassword", Section.MAIL, "The password that the SMTP server asks for.",
)  # fmt: skip
MAIL_SENDER: Final = _text(
    "mailSender", Section.MAIL, "From whom mails are: an address, or a name and an address in angle brackets.",
    default="Berth <berth@localhost>", check=_sender,
)  # fmt: skip

# ── sessions ───────────────────────────────────────────────────────────────────────────────────────────────────────────

IMAGE_PULL_POLICY: Final = _choice(
    "imagePullPolicy", Section.SESSIONS, ("IF_NOT_PRESENT", "ALWAYS", "NEVER"),
    "When a node fetches the image of a session that starts: if it does not have it, always (a tag may have moved), "
    "or never: then only nodes that have it can start it.",
)  # fmt: skip
RETRY_PAUSE: Final = _number(
    "retryPauseSeconds", Section.SESSIONS, 10,
    "Pause before a start that failed for a reason of its node is tried again; it doubles each time.",
    least=1, most=3600, unit="seconds",
)  # fmt: skip
LONGEST_RETRY_PAUSE: Final = _number(
    "longestRetryPauseSeconds", Section.SESSIONS, 300,
    "The longest that the pause before another try of a failed start becomes.",
    least=1, most=86_400, unit="seconds",
)  # fmt: skip
END_WARNING: Final = _number(
    "endWarningSeconds", Section.SESSIONS, 300,
    "How long before a session ends for being unused or too old it is warned; half of the time where that is shorter.",
    least=10, most=86_400, unit="seconds",
)  # fmt: skip

# ── what new resource groups and policies have that say nothing ────────────────────────────────────────────────────────

DEFAULT_IDLE_TIMEOUT: Final = _number(
    "defaultIdleTimeoutSeconds", Section.DEFAULTS, 0,
    "After how long an unused session ends in a new resource group or by a new resource policy that says nothing; "
    "0: never, else 60 or more. Those that exist stay as they are.",
    least=0, most=inputs.LONGEST_IDLE, unit="seconds", check=_idle,
)  # fmt: skip
DEFAULT_START_RETRIES: Final = _number(
    "defaultStartRetries", Section.DEFAULTS, 2,
    "How often a failed start is tried again in a new resource group that says nothing.", least=0, most=100,
)  # fmt: skip
DEFAULT_BACKFILL: Final = _switch(
    "defaultBackfill", Section.DEFAULTS, True,
    "Has a new resource group that says nothing a reservation for the head of its queue, which nobody delays?",
)  # fmt: skip

# ── records ────────────────────────────────────────────────────────────────────────────────────────────────────────────

AUDIT_RETENTION: Final = _number(
    "auditRetentionDays", Section.RECORDS, 365,
    "How long the audit log is kept; what is older is deleted, and cannot be had again.",
    least=1, most=36_500, unit="days",
)  # fmt: skip
STATISTICS_RETENTION: Final = _number(
    "statisticsRetentionDays", Section.RECORDS, 93,
    "How long usage is kept by the hour; by the day and the month it stays for good.",
    least=1, most=36_500, unit="days",
)  # fmt: skip


@dataclass
class OptionBook:
    """The values in effect in this process."""

    #: Key → what the configuration says; checked by `configured`.
    configured: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    #: Whose turn it is to read the database and `replace`.
    turn: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    _stored: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    _problems: Sequence[str] = ()

    def value(self, option: Option[T]) -> T:
        if option.key in self._stored:
            return self._stored[option.key]
        return self.default(option)

    def given(self, value: T | None, option: Option[T]) -> T:
        """What was given, else the setting's value."""
        return self.value(option) if value is None else value

    def default(self, option: Option[T]) -> T:
        """What it is as long as nobody has set it."""
        return self.configured.get(option.key, option.default)

    def replace(self, stored: Mapping[str, Any], problems: Sequence[str] = ()) -> None:
        """Take over what the database has, and say once what of it cannot be used."""
        for problem in problems:
            if problem not in self._problems:
                log.warning("%s", problem)
        self._stored, self._problems = stored, problems


def usable(stored: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Of what the database has, what this release knows and allows; and sentences about what it does not allow."""
    kept: dict[str, Any] = {}
    problems: list[str] = []
    for key, value in stored.items():
        if key not in OPTIONS:
            continue
        try:
            kept[key] = OPTIONS[key].read(value)
        except ValueError as error:
            problems.append(f"the stored value of the setting {key} is not used: {error}")
    return kept, problems


def configured(given: Mapping[str, Any]) -> dict[str, Any]:
    """Check the settings of a configuration.

    Raises:
        ValueError: one is unknown or wrong; the message names it.
    """
    for key, value in given.items():
        if key not in OPTIONS:
            raise ValueError(f"there is no setting {key}; known are {', '.join(OPTIONS)}")
        try:
            OPTIONS[key].read(value)
        except ValueError as error:
            raise ValueError(f"settings.{key}: {error}") from error
    return dict(given)
