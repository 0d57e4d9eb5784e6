"""Prints one hash over the content of files and folders, to tell whether something must be made again.

Left out is what is made from the rest: node_modules, dist, caches, reports of tests, whatever begins with a dot.
"""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

MADE = {"node_modules", "dist", "__pycache__", "test-results", "playwright-report", "coverage"}


def files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for entry in sorted(path.iterdir()):
        if entry.name not in MADE and not entry.name.startswith("."):
            yield from files(entry)


def main() -> None:
    digest = hashlib.sha256()
    for argument in sys.argv[1:]:
        for file in files(Path(argument)):
            content = file.read_bytes() if file.is_file() else b"absent"
            digest.update(f"{file}\0{len(content)}\0".encode() + content)
    print(digest.hexdigest())


if __name__ == "__main__":
    main()
