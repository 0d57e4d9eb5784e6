"""Both engines for every test that asks for `engine`."""

import pytest
from hypothesis import settings

from tests.scheduler.builders import ENGINES, Engine

# How long an example takes says more of the machine than of the scheduler.
settings.register_profile("scheduler", deadline=None)
settings.load_profile("scheduler")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param
