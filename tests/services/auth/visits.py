"""Logging in, as the tests of logins do."""

from services import auth
from services.core import Core
from services.db.tables import User
from tests.factories import PASSWORD

ADDRESS = "192.0.2.1"
NEW_PASSWORD = "better-horse-2"


async def log_in(
    core: Core, user: User, password: str = PASSWORD, address: str = ADDRESS
) -> auth.LoginResult:
    return await auth.login(core, user.email, password, address=address, user_agent="pytest")
