"""What a manager that has just started tells its supervisor: one JSON line through a pipe."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Announcement:
    """Where it serves, and secrets for whoever holds the other end of the pipe."""

    url: str
    #: For a process on this machine: past any proxy, where that is possible.
    local_url: str
    #: Of the first administrator and its one-time link, empty once an administrator has a password.
    owner_email: str
    owner_link: str
    #: Lets one agent in.
    join_token: str

    @classmethod
    def read(cls, line: bytes) -> "Announcement":
        return cls(**json.loads(line))

    def line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"
