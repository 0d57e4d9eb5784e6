"""The manager's address: what may be listened on, and what is said when it cannot be."""

import socket
from pathlib import Path

import pytest

from server.config import Config
from server.listening import CannotServe, check_exposure, is_loopback, listen, local_url


def config(**settings: object) -> Config:
    return Config.model_construct(
        **{**{name: field.get_default() for name, field in Config.model_fields.items()}, **settings}
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_the_loopback_needs_no_tls(host: str) -> None:
    assert is_loopback(host)
    check_exposure(config(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "berth.example.com", "localhost.example.com"])
def test_any_other_address_is_refused_in_the_clear(host: str) -> None:
    with pytest.raises(CannotServe, match="--insecure"):
        check_exposure(config(host=host))


@pytest.mark.parametrize(
    "settings", [{"insecure": True}, {"trusted_proxies": "10.0.0.2"}, {"tls_certificate": Path("chain.pem")}]
)
def test_a_declared_way_to_be_safe_is_taken(settings: dict[str, object]) -> None:
    check_exposure(config(host="0.0.0.0", **settings))


def test_a_port_that_is_taken_is_named_with_what_to_do() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(CannotServe, match=f"{port} is taken.*--port"):
            listen(config(host="127.0.0.1", port=port))


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(CannotServe, match="no address"):
        listen(config(host="192.0.2.7", port=0))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"host": "0.0.0.0", "port": 81}, "http://127.0.0.1:81"),
        ({"host": "::", "port": 81}, "http://[::1]:81"),
        (
            {"host": "127.0.0.1", "port": 81, "public_url": "https://berth.example.com/"},
            "http://127.0.0.1:81",
        ),
        ({"host": "192.0.2.7", "port": 81, "public_url": "https://b.example"}, "https://b.example"),
        (
            {"host": "0.0.0.0", "public_url": "https://b.example", "tls_certificate": Path("c")},
            "https://b.example",
        ),
    ],
)
def test_a_process_of_this_machine_goes_past_the_proxy_where_it_can(
    settings: dict[str, object], expected: str
) -> None:
    assert local_url(config(**settings)) == expected
