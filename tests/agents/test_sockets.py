"""Where the manager is, and when the agent dials again."""

import pytest

from agents.link import Backoff
from agents.sockets import Manager, UnsafeManager


@pytest.mark.parametrize(
    "url",
    [
        "https://berth.example.org",
        "wss://berth.example.org/berth/",
        "http://127.0.0.1:8000",
        "http://[::1]:8000",
        "http://localhost:8000",
        "ws://127.1.2.3",
    ],
)
def test_a_safe_manager_is_accepted(url: str) -> None:
    assert Manager.at(url).websocket("/agents/link").startswith("ws")


@pytest.mark.parametrize(
    "url", ["http://berth.example.org", "ws://10.0.0.1:8000", "http://127.0.0.1.example.org"]
)
def test_an_unencrypted_manager_elsewhere_needs_the_flag(url: str) -> None:
    with pytest.raises(UnsafeManager, match="--insecure"):
        Manager.at(url)
    assert Manager.at(url, insecure=True).tls is None


@pytest.mark.parametrize("url", ["berth.example.org", "ftp://berth", "http://", "", "https:///x"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(UnsafeManager, match="no URL of a manager"):
        Manager.at(url, insecure=True)


def test_the_path_of_a_manager_behind_a_prefix_is_kept() -> None:
    assert Manager.at("https://example.org/berth/").websocket("/agents/link") == (
        "wss://example.org/berth/agents/link"
    )


def test_pauses_grow_to_their_most_and_are_jittered_over_all_of_it() -> None:
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return high

    backoff = Backoff(uniform=uniform)
    assert [round(backoff.next(), 1) for _ in range(9)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 15.0, 15.0]
    assert {low for low, _ in asked} == {0}


def test_a_good_connection_makes_the_next_pause_short_again() -> None:
    backoff = Backoff(uniform=lambda low, high: high)
    for _ in range(5):
        backoff.next()
    backoff.ended_after(29.0)
    assert backoff.next() > 1
    backoff.ended_after(30.0)
    assert backoff.next() == 0.2
