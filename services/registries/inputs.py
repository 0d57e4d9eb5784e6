"""Checks of what an administrator writes about a registry. What is wrong goes to `Problems`, all of it together."""

import ipaddress
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import SplitResult, urlsplit

from services.errors import Problems

#: What references have for images of Docker Hub, and what else it is called.
DOCKER_HUB_HOST: Final = "docker.io"
_DOCKER_HUB_HOSTS: Final = ("docker.io", "index.docker.io", "registry-1.docker.io", "hub.docker.com")
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST: Final = re.compile(rf"({_LABEL}(?:\.{_LABEL})*)(?::([0-9]{{1,5}}))?")
#: A repository's path, as the distribution specification has it.
PROJECT: Final = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_MOST: Final = 100
_MAX_PASSWORD: Final = 16 * 1024


def check_hostname(value: str, problems: Problems) -> str:
    """A registry's host as it stands at the beginning of references: with a dot or a port, or `localhost`."""
    hostname = value.strip().lower()
    looks_like_one = "." in hostname or ":" in hostname or hostname == "localhost"
    if not looks_like_one or not is_host(hostname):
        problems.add(
            "input.hostname",
            "A host as image names begin with it: registry.example.org, localhost or 10.0.0.5:5000.",
        )
    return hostname


def check_url(value: str, hostname: str, kind: str, problems: Problems) -> str:
    """Where the registry answers. Its host is the host name, for pulls go there by the image's name; Docker Hub answers
    elsewhere than its images' names say."""
    url = value.strip().rstrip("/")
    before = len(problems.fields)
    parts = _split(url)
    if parts is None or parts.scheme not in ("http", "https") or not is_host(parts.netloc.lower()):
        problems.add("input.url", "An address with its scheme, such as https://registry.example.org:5000.")
    elif parts.path or parts.query or parts.fragment:
        problems.add("input.url", "Only a scheme and a host, and a port where it needs one.")
    elif _is_forbidden(parts.hostname or ""):
        problems.add(
            "input.url", "This address is one of the machine itself or of its cloud, not a registry's."
        )
    if len(problems.fields) > before or parts is None:
        return url
    host = parts.netloc.lower()
    if kind == "DOCKER_HUB":
        if host not in _DOCKER_HUB_HOSTS or parts.scheme != "https":
            problems.add("input.url", f"Docker Hub answers at https://{_DOCKER_HUB_HOSTS[1]}.")
        if hostname != DOCKER_HUB_HOST:
            problems.add("input.hostname", f"Docker Hub's images are named with {DOCKER_HUB_HOST}.")
    elif host != hostname:
        problems.add("input.hostname", f"The host of the address: {host}.")
    elif host in _DOCKER_HUB_HOSTS:
        problems.add("input.kind", "This is Docker Hub: it has a kind of its own.")
    return f"{parts.scheme}://{host}"


def check_credentials(username: str | None, password: str | None, problems: Problems) -> None:
    """None: not given."""
    if username is not None and (len(username) > 255 or ":" in username or _UNPRINTABLE.search(username)):
        problems.add("input.username", "At most 255 characters, without colons.")
    if password is not None and (len(password) > _MAX_PASSWORD or _UNPRINTABLE.search(password)):
        problems.add("input.password", f"At most {_MAX_PASSWORD} characters on one line.")


def check_projects(projects: Sequence[str], kind: str, problems: Problems) -> list[str]:
    """Projects or namespaces. Docker Hub lists none of itself, so it has to be told some."""
    if len(projects) > _MOST:
        problems.add("input.projects", f"At most {_MOST}.")
    for position, project in enumerate(projects):
        if len(project) > 255 or not PROJECT.fullmatch(project):
            problems.add(
                f"input.projects.{position}", "A project or namespace as image names have it: in lower case."
            )
    if kind == "DOCKER_HUB" and not projects:
        problems.add(
            "input.projects", "Docker Hub tells nobody all that it has: name the namespaces to look into."
        )
    return list(dict.fromkeys(projects))


def check_trusted_hosts(hosts: Sequence[str], problems: Problems) -> list[str]:
    if len(hosts) > _MOST:
        problems.add("input.trustedHosts", f"At most {_MOST}.")
    found = [host.strip().lower() for host in hosts]
    for position, host in enumerate(found):
        if not is_host(host) or _is_forbidden(host.partition(":")[0]):
            problems.add(f"input.trustedHosts.{position}", "A host, and a port where it needs one.")
    return list(dict.fromkeys(found))


def is_host(text: str) -> bool:
    """A name or an IPv4 address, in lower case, and perhaps a port."""
    match = _HOST.fullmatch(text)
    return match is not None and len(text) <= 255 and 0 < int(match[2] or 1) < 65536


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _is_forbidden(host: str) -> bool:
    """Link-local and the like: where clouds give machines their credentials. Private networks are where registries are."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # A number that some resolvers take for an address is none that an administrator would write.
        return bool(re.fullmatch(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+))*", host))
    return address.is_link_local or address.is_multicast or address.is_unspecified
