"""How functions are compiled, and the types of their arguments.

Machine code is kept on disk beside the source, or in the user's cache folder where that is read-only. What is kept
notices changes of a function's own file alone, so all compiled functions of one file's callers change with it: when
developing, remove `__pycache__/*.nb?` after an edit of `trees.py`.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., Any])

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]
Doubles = NDArray[np.float64]
#: int32 where ranks and positions fit, which makes it half as large and twice as fast, else int64.
Keys = NDArray[np.signedinteger[Any]]

#: A need that never stands in the way, and one that always does.
NOTHING: Final = -(2**62)
TOO_MUCH: Final = 2**62


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
