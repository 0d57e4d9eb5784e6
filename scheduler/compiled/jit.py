"""How functions are compiled, and the types of their arguments."""

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numba
import numpy as np
from numba.core import config
from numpy.typing import NDArray

from scheduler import machine_code

F = TypeVar("F", bound=Callable[..., Any])

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]
Doubles = NDArray[np.float64]
#: int32 where ranks and positions fit, which makes it half as large and twice as fast, else int64.
Keys = NDArray[np.signedinteger[Any]]

#: A need that never stands in the way, and one that always does.
NOTHING: Final = -(2**62)
TOO_MUCH: Final = 2**62


config.CACHE_DIR = str(machine_code.folder())  # pyright: ignore[reportAttributeAccessIssue]  # it reads its names from a table


def compiled(function: F) -> F:
    """Machine code of a function that makes no arrays, and may not: it counts no references to those it is given.

    Counting them costs five times what the loops do themselves, as each of them works on some thirty arrays.
    """
    options: dict[str, Any] = {
        "cache": True,
        "nogil": True,
        "forceinline": True,
        "error_model": "numpy",
        "_nrt": False,
    }
    return cast("F", numba.njit(**options)(function))
