"""From the click to the shell, and to the end."""

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import connect

from tests.flow.cluster import PATIENCE, TERMINATE, Client, Cluster, GraphQLFailed, eventually

CREATE = """mutation($i: CreateSessionInput!) {
  createSession(input: $i) { session { id name status slots { name amount } } raised { name amount } }
}"""
STATE = """query($id: ID!) { node(id: $id) { ... on Session {
  id status statusReason { code message } pendingReason { ... on WaitingReason { code message position } } exitCode
  events { status code } kernels { id status } } } }"""
LOGS = "query($id: ID!) { node(id: $id) { ... on Session { logs { text } } } }"
EVENTS = "subscription($a: String) { sessionEvents(after: $a) { kind cursor session { id status } } }"
TERMINAL = "mutation($i: OpenTerminalInput!) { openTerminal(input: $i) { terminalId url } }"


async def choices(client: Client) -> dict[str, str]:
    """What a launcher would preselect: the first group, resource group and smallest image."""
    answer = await client(
        "{ viewer { groups { id } resourceGroups { id } } images(first: 50) { nodes { id reference } } }"
    )
    images = sorted(answer["images"]["nodes"], key=lambda image: "minimal" not in image["reference"])
    return {
        "groupId": answer["viewer"]["groups"][0]["id"],
        "resourceGroupId": answer["viewer"]["resourceGroups"][0]["id"],
        "imageId": images[0]["id"],
    }


async def launch(client: Client, **more: Any) -> str:
    slots = [{"name": "cpu", "amount": "0.1"}, {"name": "mem", "amount": str(128 * 2**20)}]
    given = {**await choices(client), "slots": slots, **more}
    return (await client(CREATE, i=given))["createSession"]["session"]["id"]


async def state(client: Client, session_id: str) -> dict[str, Any]:
    return (await client(STATE, id=session_id))["node"]


async def reaches(cluster: Cluster, client: Client, session_id: str, *statuses: str) -> dict[str, Any]:
    async def there() -> dict[str, Any] | None:
        now = await state(client, session_id)
        return now if now["status"] in statuses else None

    what = f"{session_id} is {' or '.join(statuses)}"
    return await eventually(there, what, cluster.manager, *cluster.agents)


async def test_a_session_runs_is_seen_live_answers_in_its_terminal_and_ends(cluster: Cluster) -> None:
    client = await cluster.client()
    async with client.subscribe(EVENTS) as events:
        session_id = await launch(client, name="first")
        seen: list[str] = []
        while "RUNNING" not in seen:
            session = (await events.next())["sessionEvents"]["session"]
            if session["id"] == session_id:
                seen.append(session["status"])
    assert seen[0] == "PENDING"
    assert await typed(client, session_id, b"echo $((6*7))-$HOME\n", b"42-/home/work") is not None

    outcome = await client(TERMINATE, i={"ids": [session_id]})
    assert outcome["terminateSessions"]["results"] == [{"id": session_id, "error": None}]
    ended = await reaches(cluster, client, session_id, "TERMINATED", "CANCELLED", "ERROR")
    assert (ended["status"], ended["statusReason"]["code"]) == ("TERMINATED", "REQUESTED")
    assert [event["status"] for event in ended["events"]][-2:] == ["TERMINATING", "TERMINATED"]


async def test_a_terminal_comes_back_with_its_scrollback_after_the_connection_was_cut(
    cluster: Cluster,
) -> None:
    client = await cluster.client()
    session_id = await launch(client)
    await reaches(cluster, client, session_id, "RUNNING")
    terminal = await typed(client, session_id, b"MARK=kept; echo be''fore\n", b"before")
    again = await typed(client, session_id, b"echo $MARK-after\n", b"kept-after", terminal, first=b"before")
    assert again == terminal


async def test_a_batch_session_ends_with_its_commands_exit_code_and_keeps_its_log(cluster: Cluster) -> None:
    client = await cluster.client()
    session_id = await launch(client, type="BATCH", startupCommand="echo printed-by-batch; exit 3")
    ended = await reaches(cluster, client, session_id, "TERMINATED", "ERROR")
    assert (ended["status"], ended["exitCode"]) == ("TERMINATED", 3)
    logged = await eventually(
        lambda: _log_with(client, session_id, "printed-by-batch"), "the log is kept", *cluster.agents
    )
    assert "printed-by-batch" in logged


async def test_another_users_session_is_not_found_by_its_id(cluster: Cluster) -> None:
    owner = await cluster.client()
    session_id = await launch(owner)
    stranger = await _new_user(owner, cluster, "stranger@example.org")
    assert (await stranger(STATE, id=session_id))["node"] is None
    outcome = await stranger(TERMINATE, i={"ids": [session_id]})
    assert outcome["terminateSessions"]["results"][0]["error"]["code"] == "NOT_FOUND"
    with pytest.raises(GraphQLFailed) as refused:
        await stranger(TERMINAL, i={"sessionId": session_id})
    assert refused.value.code == "NOT_FOUND"


async def test_malformed_amounts_are_all_named_at_once(cluster: Cluster) -> None:
    client = await cluster.client()
    bad = [("cpu", "-1"), ("mem", "NaN"), ("cuda.device", "1e30"), ("unobtainium", "1")]
    with pytest.raises(GraphQLFailed) as refused:
        await launch(client, slots=[{"name": name, "amount": amount} for name, amount in bad])
    paths = {json.dumps(error["extensions"].get("path")) for error in refused.value.errors}
    assert refused.value.code == "BAD_USER_INPUT"
    assert len(paths) == len(bad)


async def typed(
    client: Client,
    session_id: str,
    text: bytes,
    expected: bytes,
    terminal_id: str | None = None,
    first: bytes = b"",
) -> str:
    """Open a terminal, wait for `first` in what it shows, type, wait for the answer. Returns the terminal's id."""
    opened = (await client(TERMINAL, i={"sessionId": session_id, "terminalId": terminal_id}))["openTerminal"]
    url = opened["url"]
    if url.startswith("/"):
        url = client.url + url
    shown = b""
    async with connect(url.replace("http", "ws", 1)) as socket, asyncio.timeout(PATIENCE):
        while first not in shown:
            shown += _bytes(await socket.recv())
        await socket.send(text)
        while expected not in shown:
            shown += _bytes(await socket.recv())
    return opened["terminalId"]


def _bytes(frame: bytes | str) -> bytes:
    assert isinstance(frame, bytes), frame
    return frame


async def _log_with(client: Client, session_id: str, text: str) -> str | None:
    log = (await client(LOGS, id=session_id))["node"]["logs"]["text"]
    return log if text in log else None


async def _new_user(owner: Client, cluster: Cluster, email: str) -> Client:
    domain = (await owner("{ viewer { domain { id } } }"))["viewer"]["domain"]["id"]
    create = "mutation($i: CreateUserInput!) { createUser(input: $i) { user { id } } }"
    await owner(create, i={"domainId": domain, "email": email, "name": "stranger", "password": "pass-word-1"})
    return await Client(cluster.url).login(email, "pass-word-1")
