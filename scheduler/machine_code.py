"""Where machine code is kept between starts: in a folder named by what it was made from.

numba alone would notice changes of a function's own file only, and go on with machine code of an older version of what that
function calls.
"""

import hashlib
import os
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

_COMPLETE: Final = "complete"


@cache
def folder() -> Path:
    """Beside the source, or in the user's cache where that is read-only."""
    package = Path(__file__).parent
    digest = hashlib.sha256(version("numba").encode())
    for source in sorted(package.rglob("*.py")):
        digest.update(source.read_bytes())
    beside = package / "compiled"
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "berth"
    return (beside if os.access(beside, os.W_OK) else home) / "__pycache__" / digest.hexdigest()[:16]


def complete() -> bool:
    """Is all of it there?"""
    return (folder() / _COMPLETE).exists()


def completed() -> None:
    """All of it has been made."""
    folder().mkdir(parents=True, exist_ok=True)
    (folder() / _COMPLETE).touch()
