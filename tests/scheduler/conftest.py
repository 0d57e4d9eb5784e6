"""Both engines for every test that asks for `engine`."""

import pytest

from tests.scheduler.builders import ENGINES, Engine


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param
