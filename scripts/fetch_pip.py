"""Fetches the pinned pip wheel into a folder and prints its path: for a Python that came without ensurepip.

Debian's python3 has the module venv and not the pip that it would put in; with this no system package is needed. Looks
where pip would look (PIP_INDEX_URL, pip.conf, else the public index) and takes only what has the hash in
requirements/tools.txt. Standard library alone.
"""

import configparser
import hashlib
import html
import os
import re
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

PUBLIC_INDEX = "https://pypi.org/simple"
SECONDS = 60


def configured() -> dict[str, str]:
    """pip's own settings: its files, the later ones winning, then its variables."""
    home = Path.home()
    files = [
        Path("/etc/pip.conf"),
        Path("/Library/Application Support/pip/pip.conf"),
        home / ".pip/pip.conf",
        Path(os.environ.get("XDG_CONFIG_HOME", home / ".config")) / "pip/pip.conf",
        Path(os.environ.get("PIP_CONFIG_FILE", os.devnull)),
    ]
    parser = configparser.RawConfigParser()
    parser.read(files)
    found = {}
    for section in ("global", "install"):
        if parser.has_section(section):
            found.update(parser.items(section))
    for name in ("index-url", "cert"):
        if value := os.environ.get("PIP_" + name.upper().replace("-", "_")):
            found[name] = value
    return found


def pinned(requirements: Path) -> tuple[str, set[str]]:
    """Version and SHA-256 sums of pip."""
    match = re.search(
        r"^pip==(\S+) \\\n((?:\s+--hash=sha256:\w+ ?\\?\n)+)", requirements.read_text(), re.MULTILINE
    )
    if match is None:
        sys.exit(f"{requirements} pins no pip")
    return match[1], set(re.findall(r"sha256:(\w+)", match[2]))


def main() -> None:
    folder = Path(sys.argv[1])
    version, hashes = pinned(Path(__file__).resolve().parent.parent / "requirements/tools.txt")
    settings = configured()
    index = settings.get("index-url", PUBLIC_INDEX).rstrip("/")
    context = ssl.create_default_context(cafile=settings.get("cert") or os.environ.get("SSL_CERT_FILE"))
    name = f"pip-{version}-py3-none-any.whl"
    try:
        page = urllib.request.urlopen(f"{index}/pip/", timeout=SECONDS, context=context)
        with page:
            links = re.findall(r'href="([^"]+)"', page.read().decode())
            wanted = next(
                (link for link in links if urllib.parse.urlsplit(link).path.endswith(f"/{name}")), None
            )
            if wanted is None:
                sys.exit(f"{index} has no {name}")
            address = urllib.parse.urljoin(page.url, html.unescape(wanted).partition("#")[0])
        with urllib.request.urlopen(address, timeout=SECONDS, context=context) as download:
            wheel = download.read()
    except OSError as error:
        sys.exit(f"{index} cannot be reached: {error}")
    if hashlib.sha256(wheel).hexdigest() not in hashes:
        sys.exit(f"{name} from {index} is not the one that requirements/tools.txt names: its hash differs")
    path = folder / name
    path.write_bytes(wheel)
    print(path)


if __name__ == "__main__":
    main()
