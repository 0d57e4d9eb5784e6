"""Everything that can be answered instead of a result.

    BerthError
    ├── BadInput            BAD_USER_INPUT    fields: (path, what would be right), all wrong ones together
    ├── Unauthenticated     UNAUTHENTICATED
    ├── Forbidden           FORBIDDEN
    ├── NotFound            NOT_FOUND         also for what exists and is not the caller's to know
    ├── Conflict            CONFLICT
    ├── QuotaExceeded       QUOTA_EXCEEDED    limit, asked, used, whose
    ├── RateLimited         RATE_LIMITED      retry_after
    └── Unavailable         UNAVAILABLE       which part; retry_after

Services raise these; one place (`schema/errors.py`) maps them; resolvers catch nothing. A message says what to do.
"""

from typing import Any, ClassVar


class BerthError(Exception):
    code: ClassVar[str]

    def __init__(self, message: str, *, path: str | None = None, **extra: Any) -> None:
        super().__init__(message)
        self.message = message
        #: Input field that it is about, as a client wrote it: `input.slots.0.amount`.
        self.path = path
        #: More for programs; `help`: what to do next, where that is not what the code always says.
        self.extra = extra


class BadInput(BerthError):
    code = "BAD_USER_INPUT"

    def __init__(
        self, message: str, *, path: str | None = None, fields: list[tuple[str, str]] | None = None
    ) -> None:
        super().__init__(message, path=path)
        #: (path, message) of each wrong field.
        self.fields = fields or ([(path, message)] if path else [])


class Unauthenticated(BerthError):
    code = "UNAUTHENTICATED"


class Forbidden(BerthError):
    code = "FORBIDDEN"


class NotFound(BerthError):
    code = "NOT_FOUND"


class Conflict(BerthError):
    code = "CONFLICT"


class QuotaExceeded(BerthError):
    """`limit`, `asked`, `used` are exact decimal strings; `whose` names the scope; `slot` the slot."""

    code = "QUOTA_EXCEEDED"


class RateLimited(BerthError):
    """`retry_after`: seconds."""

    code = "RATE_LIMITED"

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message, retry_after=retry_after)


class Unavailable(BerthError):
    code = "UNAVAILABLE"


class Problems:
    """Collects wrong fields, so that all are reported together."""

    def __init__(self) -> None:
        self.fields: list[tuple[str, str]] = []

    def add(self, path: str, message: str) -> None:
        self.fields.append((path, message))

    def check(self) -> None:
        """Raise `BadInput` when anything was added."""
        if self.fields:
            summary = "; ".join(f"{path}: {message}" for path, message in self.fields)
            raise BadInput(summary, path=self.fields[0][0], fields=self.fields)
