"""Reasons as data and as sentences."""

import msgspec
import pytest

from scheduler.plan import (
    DesignatedAgentsUnavailable,
    GangDoesNotFit,
    LimitReached,
    NoAgentFits,
    NoAgents,
    Reason,
    Reserved,
    SchedulerFailed,
    WrongArchitecture,
    sentence,
)

SENTENCES: list[tuple[str, Reason, str]] = [
    (
        "LIMIT_REACHED",
        LimitReached(scope="grp_1", slot="cpu", asked=4, used=14, cap=16),
        "It asks for 4 cpu, and grp_1 already has 14 cpu of the 16 cpu that it may have.",
    ),
    ("NO_AGENTS", NoAgents(resource_group="rgp_1", agents=0), "rgp_1 has no agents."),
    (
        "NO_AGENTS",
        NoAgents(resource_group="rgp_1", agents=1),
        "rgp_1 has 1 agent; none takes new sessions now.",
    ),
    (
        "DESIGNATED_AGENTS_UNAVAILABLE",
        DesignatedAgentsUnavailable(resource_group="rgp_1", agents=("agt_1", "agt_2")),
        "It may only run on agt_1, agt_2; none of them takes new sessions in rgp_1 now.",
    ),
    (
        "WRONG_ARCHITECTURE",
        WrongArchitecture(accepted=("aarch64",), available=("x86_64",)),
        "It runs on aarch64; the agents that take new sessions are x86_64.",
    ),
    (
        "NO_AGENT_FITS",
        NoAgentFits(slot="cpu", asked=4, free=2, largest_free=3, largest_capacity=8, never=False),
        "It asks for 4 cpu; no agent has more than 3 cpu free.",
    ),
    (
        "NO_AGENT_FITS",
        NoAgentFits(slot="cpu", asked=4, free=-2, largest_free=6, largest_capacity=8, never=False),
        "It asks for 4 cpu; the agent that comes nearest to all that it asks for has none free.",
    ),
    (
        "NO_AGENT_FITS",
        NoAgentFits(slot="cpu", asked=9, free=2, largest_free=3, largest_capacity=8, never=True),
        "It asks for 9 cpu; the largest agent has 8 cpu in all.",
    ),
    (
        "NO_AGENT_FITS",
        NoAgentFits(slot="cpu", asked=8, free=2, largest_free=3, largest_capacity=8, never=True),
        "It asks for more together than any one agent has, even empty.",
    ),
    (
        "NO_AGENT_FITS",
        NoAgentFits(slot="cpu", asked=4, free=-1, largest_free=0, largest_capacity=8, never=False),
        "It asks for 4 cpu; no agent has any free.",
    ),
    (
        "LIMIT_REACHED",
        LimitReached(scope="grp_1", slot="sessions", asked=1, used=3, cap=3),
        "Grp_1 already has 3 of the 3 sessions that it may have at once.",
    ),
    (
        "GANG_DOES_NOT_FIT",
        GangDoesNotFit(kernels=4, fitting=3, at_most=4, never=False),
        "It needs places for 4 kernels at once; there are 3 now.",
    ),
    (
        "GANG_DOES_NOT_FIT",
        GangDoesNotFit(kernels=4, fitting=1, at_most=2, never=True),
        "It needs places for 4 kernels at once; even with all agents empty there would be 2.",
    ),
    (
        "RESERVED",
        Reserved(session="ses_1", starts_in=7201),
        (
            "There is room, but a session that waits longer starts there in 3 h or sooner. "
            "One that ends before could go first: give it a maximum duration."
        ),
    ),
    (
        "RESERVED",
        Reserved(session="ses_1", starts_in=100),
        (
            "There is room, but a session that waits longer starts there in 100 s or sooner. "
            "One that ends before could go first: give it a maximum duration."
        ),
    ),
    (
        "SCHEDULER_FAILED",
        SchedulerFailed(plugin="placer Pack", message="ZeroDivisionError: secret"),
        (
            "Nothing can be placed in its resource group, because the placer Pack failed. "
            "Administrators are shown what happened."
        ),
    ),
]


@pytest.mark.parametrize(("code", "reason", "text"), SENTENCES)
def test_a_reason_says_its_numbers(code: str, reason: Reason, text: str) -> None:
    assert reason.code == code
    assert sentence(reason) == text


@pytest.mark.parametrize("reason", [case[1] for case in SENTENCES])
def test_a_reason_survives_being_stored(reason: Reason) -> None:
    document = msgspec.json.decode(msgspec.json.encode(reason))
    assert document["code"] == reason.code
    assert msgspec.convert(document, Reason) == reason


def test_amounts_and_names_are_said_as_the_reader_knows_them() -> None:
    reason = LimitReached(scope="grp_1", slot="cpu", asked=500, used=1500, cap=1600)
    text = sentence(
        reason,
        amount=lambda slot, amount: f"{amount / 1000:g} {slot}",
        name={"grp_1": "the group vision"}.__getitem__,
    )
    assert (
        text
        == "It asks for 0.5 cpu, and the group vision already has 1.5 cpu of the 1.6 cpu that it may have."
    )
