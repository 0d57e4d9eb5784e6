"""Who asks: logins and their tokens, signed requests, passwords, and what any of it is worth now."""

from services.auth.change import change_password, create_password_ticket, redeem_ticket, reset_password
from services.auth.factors import SecondFactor, Started
from services.auth.logins import (
    ORDERS,
    LoginResult,
    confirm_login,
    end_login,
    get_login,
    login,
    login_with_keypair,
    logout,
    logout_everywhere,
    many_logins,
    page_logins,
    refresh,
    total_logins,
)
from services.auth.recovery import request_reset
from services.auth.requests import (
    WINDOW,
    authenticate_bearer,
    authenticate_request,
    count_operation,
    counter,
    is_signed_request,
    keep_books,
    purge,
    still_is,
    still_stands,
)
from services.auth.standing import follow_revocations

__all__ = [
    "ORDERS",
    "WINDOW",
    "LoginResult",
    "SecondFactor",
    "Started",
    "authenticate_bearer",
    "authenticate_request",
    "change_password",
    "confirm_login",
    "count_operation",
    "counter",
    "create_password_ticket",
    "end_login",
    "follow_revocations",
    "get_login",
    "is_signed_request",
    "keep_books",
    "login",
    "login_with_keypair",
    "logout",
    "logout_everywhere",
    "many_logins",
    "page_logins",
    "purge",
    "redeem_ticket",
    "refresh",
    "request_reset",
    "reset_password",
    "still_is",
    "still_stands",
    "total_logins",
]
