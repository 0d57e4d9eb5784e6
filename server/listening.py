"""The address that the manager listens on: may it, and can it?"""

import errno
import ipaddress
import socket

from server.config import Config

#: Addresses that this machine reaches by its loopback.
_LOCAL = {
    "0.0.0.0": "127.0.0.1",  # noqa: S104
    "127.0.0.1": "127.0.0.1",
    "localhost": "127.0.0.1",
    "::": "[::1]",
    "::1": "[::1]",
}


class CannotServe(Exception):
    """The manager cannot, or must not, listen as configured. The message says what to do."""


def check_exposure(config: Config) -> None:
    """Passwords and tokens must not cross a network in the clear.

    Raises:
        CannotServe: the address is public, and neither TLS nor a proxy that brings it is declared.
    """
    if config.insecure or config.tls_certificate or config.trusted_proxies or is_loopback(config.host):
        return
    raise CannotServe(
        f"{config.host} can be reached by others, and nothing encrypts what they send. Either set tls_certificate and "
        "tls_key, or name the reverse proxy that brings TLS (trusted_proxies, public_url), or listen on 127.0.0.1; "
        "on a network that you trust, --insecure."
    )


def is_loopback(host: str) -> bool:
    """Can this address be reached from this machine alone?"""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(config: Config) -> socket.socket:
    """Take the address before anything else is touched.

    Raises:
        CannotServe: somebody has it, it is not ours, or it needs other rights.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        taken = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotServe(f"{config.host} is no address to listen on: {error}") from error
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind(address)
    except OSError as error:
        taken.close()
        raise CannotServe(_explained(error, config)) from error
    taken.set_inheritable(False)
    return taken


def local_url(config: Config) -> str:
    """Where a process of this machine reaches the manager, past any proxy; with TLS, where its certificate is good."""
    host = _LOCAL.get(config.host)
    return config.url if host is None or config.tls_certificate else f"http://{host}:{config.port}"


def _explained(error: OSError, config: Config) -> str:
    where = f"{config.host}:{config.port}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is taken, maybe by another Berth. Stop it, or choose another port with --port."
    if error.errno == errno.EACCES:
        return f"Listening on {where} needs root. Choose a port from 1024 on with --port."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"This machine has no address {config.host}. Use one that it has with --host."
    return f"Cannot listen on {where}: {error.strerror}"
