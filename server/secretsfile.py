"""The one file with the manager's secrets: made on the first start, for its owner's eyes only."""

import base64
import json
import os
import stat
from pathlib import Path

from services.keys import Keys


class UnsafeSecrets(Exception):
    """The secrets file is readable by others, or damaged. The message says how to mend it."""


def load(path: Path) -> Keys:
    """Read the secrets, making them first where there are none.

    Raises:
        UnsafeSecrets: somebody else may read the file, or it is not one of ours.
    """
    if not path.exists():
        _make(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise UnsafeSecrets(f"{path} may be read by others (mode {mode:04o}). Run: chmod 600 {path}")
    try:
        content = json.loads(path.read_text())
        return Keys(
            signing={name: _decoded(text) for name, text in content["signing"].items()},
            sealing={name: _decoded(text) for name, text in content["sealing"].items()},
            current_signing=content["current"]["signing"],
            current_sealing=content["current"]["sealing"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnsafeSecrets(
            f"{path} is damaged. Restore it from a backup: without it, stored secrets cannot be read."
        ) from error


def _make(path: Path) -> None:
    keys = Keys.generate()
    content = {
        "signing": {name: _encoded(key) for name, key in keys.signing.items()},
        "sealing": {name: _encoded(key) for name, key in keys.sealing.items()},
        "current": {"signing": keys.current_signing, "sealing": keys.current_sealing},
    }
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Written whole under another name first: a crash in between leaves no half a file.
    draft = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was first; its keys count
    finally:
        draft.unlink()


def _encoded(key: bytes) -> str:
    return base64.b64encode(key).decode()


def _decoded(text: str) -> bytes:
    key = base64.b64decode(text, validate=True)
    if len(key) != 32:
        raise ValueError("a key has 32 bytes")
    return key
