"""What a program that calls itself by a user agent is, in a few words for a list of logins."""

from typing import Final

#: The first that is found in the text counts: many browsers also name those that they descend from.
_PROGRAMS: Final = (
    ("berth", "Berth's command line"),
    ("edg", "Edge"),
    ("opr/", "Opera"),
    ("samsungbrowser", "Samsung Internet"),
    ("whale", "Whale"),
    ("firefox", "Firefox"),
    ("fxios", "Firefox"),
    ("crios", "Chrome"),
    ("chromium", "Chromium"),
    ("chrome", "Chrome"),
    ("safari", "Safari"),
    ("curl", "curl"),
    ("python", "A Python program"),
)
_SYSTEMS: Final = (
    ("iphone", "iPhone"),
    ("ipad", "iPad"),
    ("android", "Android"),
    ("windows", "Windows"),
    ("cros ", "ChromeOS"),
    ("mac os", "macOS"),
    ("macintosh", "macOS"),
    ("linux", "Linux"),
)


def describe(user_agent: str) -> str:
    """Such as `Firefox on Linux`. Nothing of the text itself is in it: anybody may write there what they like."""
    said = user_agent.lower()
    program = next((name for part, name in _PROGRAMS if part in said), "An unknown program")
    system = next((name for part, name in _SYSTEMS if part in said), "")
    return f"{program} on {system}" if system else program
