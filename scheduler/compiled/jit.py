"""How functions are compiled, and the types of their arguments.

Machine code is kept on disk, in a folder named by what it was made from. numba alone would notice changes of a function's
own file only, and go on with machine code of an older version of what that function calls.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numba
import numpy as np
from numba.core import config
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


def _folder() -> Path:
    """Beside the source, or in the user's cache where that is read-only."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256(numba.__version__.encode())
    for source in sorted(package.rglob("*.py")):
        digest.update(source.read_bytes())
    beside = Path(__file__).parent
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "berth"
    return (beside if os.access(beside, os.W_OK) else home) / "__pycache__" / digest.hexdigest()[:16]


config.CACHE_DIR = str(_folder())  # pyright: ignore[reportAttributeAccessIssue]  # it reads its names from a table


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
