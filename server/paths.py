"""Where things lie on the disk, without a dependency: clients on a node ask this too."""

import os
from pathlib import Path


def default_data_dir() -> Path:
    """`BERTH_DATA_DIR`; else `.berth` of the working directory, when Berth lives there; else the user's state directory."""
    if named := os.environ.get("BERTH_DATA_DIR"):
        return Path(named)
    here = Path(".berth")
    if (here / "secrets.json").exists():
        return here.resolve()
    state = os.environ.get("XDG_STATE_HOME") or (Path.home() / ".local/state")
    return Path(state) / "berth"


def credentials_file(data_dir: Path) -> Path:
    """The keypair that the first start made for scripts."""
    return data_dir / "credentials.json"


def write_private(path: Path, content: str) -> None:
    """Put a file there whole, readable by its owner alone; one that is there is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
