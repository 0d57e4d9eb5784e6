"""A cluster to look at: people, groups, policies, presets and sessions, made through the API like anybody's.

Whatever is there already, by its name, is left as it is: filling in twice makes nothing twice. The people's sessions are
asked for by themselves, with keypairs that are kept in demo.json beside the password that they share.
"""

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from server.client import Client, ClientFailure
from server.commands.progress import Progress
from server.paths import write_private

_GIB: Final = 1024**3


@dataclass(frozen=True)
class Policy:
    name: str
    description: str
    cpu: str
    memory: int
    sessions: int
    idle_seconds: int = 0


@dataclass(frozen=True)
class Group:
    name: str
    description: str
    cpu: str = ""


@dataclass(frozen=True)
class Preset:
    name: str
    description: str
    cpu: str
    memory: int
    #: A slot of accelerators and its amount.
    more: tuple[str, str] | None = None


@dataclass(frozen=True)
class Person:
    email: str
    full_name: str
    groups: tuple[str, ...]
    policy: str
    role: str = "USER"


@dataclass(frozen=True)
class Wanted:
    """A session. `cpu` "all" asks for more than there is at once, to show one that waits."""

    name: str
    email: str
    group: str
    cpu: str = "0.5"
    memory: int = _GIB // 2
    type: str = "INTERACTIVE"
    command: str | None = None


POLICIES: Final = (
    Policy("students", "Coursework: small sessions, ended when nobody uses them.", "2", 4 * _GIB, 2, 3600),
    Policy("researchers", "Everyday research.", "16", 64 * _GIB, 8),
)
PRESETS: Final = (
    Preset("homework", "Coursework: a notebook and a small table.", "0.25", _GIB // 4),
    Preset("gpu-share", "A third of a GPU, for trying a model out.", "2", 8 * _GIB, ("cuda.shares", "0.3")),
    Preset("gpu", "A whole GPU, for training.", "4", 16 * _GIB, ("cuda.device", "1")),
)
GROUPS: Final = (
    Group("vision", "Images and video: segmentation, tracking."),
    Group("language", "Corpora and language models."),
    Group("course-101", "Introduction to data analysis, autumn term.", "8"),
)
PEOPLE: Final = (
    Person("ada@demo.example", "Ada Lindqvist", ("vision", "language"), "researchers", "DOMAIN_ADMIN"),
    Person("minjun@demo.example", "김민준", ("vision",), "researchers"),
    Person("seoyeon@demo.example", "이서연", ("language",), "researchers"),
    Person("tomas@demo.example", "Tomás Herrera", ("vision", "course-101"), "researchers"),
    Person("yuki@demo.example", "Yuki Tanaka", ("course-101",), "students"),
    Person("fatima@demo.example", "Fatima Haddad", ("course-101",), "students"),
)
SESSIONS: Final = (
    Wanted("segmentation", "minjun@demo.example", "vision", cpu="0.5"),
    Wanted(
        "tokenizer",
        "seoyeon@demo.example",
        "language",
        type="BATCH",
        command='for i in 1 2 3 4 5; do echo "shard $i of 5"; done; echo done',
    ),
    Wanted("homework-3", "yuki@demo.example", "course-101", cpu="0.25", memory=_GIB // 4),
    Wanted(
        "broken-import", "fatima@demo.example", "course-101", type="BATCH", command="cat no-such-file.csv"
    ),
)
#: Asks for a whole node, so it waits while others run: its reason is worth a look.
WAITING: Final = Wanted("whole-node", "tomas@demo.example", "vision")

_WHO = """{
  viewer { domain { id } resourceGroups { id name } }
  images(filter: {active: true}, first: 50) { nodes { id reference size minimumSlots { name amount } } }
}"""
_POLICIES = "{ resourcePolicies(first: 100) { nodes { id name } } }"
_PRESETS = "{ resourcePresets(first: 100) { nodes { id name } } }"
_GROUPS = "query($domain: ID!) { groups(filter: {domainId: $domain}, first: 100) { nodes { id name } } }"
_USERS = 'query { users(filter: {search: "@demo.example"}, first: 100) { nodes { id email } } }'
_SESSIONS = "query($user: ID!) { sessions(filter: {userId: $user}, first: 100) { nodes { name } } }"
_AVAILABLE = """query($group: ID!, $resourceGroup: ID!) {
  availability(groupId: $group, resourceGroupId: $resourceGroup) { slots { name largestCapacity } }
}"""
_NEW_POLICY = """mutation($input: CreateResourcePolicyInput!) {
  createResourcePolicy(input: $input) { resourcePolicy { id name } }
}"""
_NEW_PRESET = """mutation($input: CreateResourcePresetInput!) {
  createResourcePreset(input: $input) { resourcePreset { id name } }
}"""
_NEW_GROUP = "mutation($input: CreateGroupInput!) { createGroup(input: $input) { group { id name } } }"
_NEW_USER = "mutation($input: CreateUserInput!) { createUser(input: $input) { user { id email } } }"
_NEW_KEYPAIR = """mutation($input: CreateKeypairInput!) {
  createKeypair(input: $input) { secretKey keypair { accessKey } }
}"""
_NEW_SESSION = (
    "mutation($input: CreateSessionInput!) { createSession(input: $input) { session { id name } } }"
)


class Demo:
    """Fills in one manager, as the administrator whose client it is given."""

    def __init__(self, client: Client, data_dir: Path, progress: Progress) -> None:
        self._client = client
        self._progress = progress
        self._file = data_dir / "demo.json"
        #: {"password": …, "keypairs": {email: [access key, secret key]}}
        self._kept = self._read()

    async def fill(self) -> None:
        """Make what is not there yet.

        Raises:
            ClientFailure: the API refused, or is out of reach.
        """
        with self._progress.phase("Demo: people, groups and policies") as phase:
            who = await self._client.ask(_WHO)
            domain = who["viewer"]["domain"]["id"]
            policies = await self._policies()
            await self._presets()
            groups = await self._groups(domain)
            users = await self._users(domain, groups)
            await self._keypairs(users, policies)
            phase.result = f"{len(users)} people in {len(groups)} groups"
        with self._progress.phase("Demo: sessions") as phase:
            phase.result = await self._sessions(who, groups, users)
        self._progress.say(
            f"The demo's people log in as {PEOPLE[0].email} (a domain administrator), {PEOPLE[1].email} … "
            f"with the password {self._kept['password']} (kept in {self._file})"
        )

    async def _policies(self) -> dict[str, str]:
        known = _ids(await self._client.ask(_POLICIES), "resourcePolicies", "name")
        for policy in POLICIES:
            if policy.name not in known:
                made = await self._client.ask(
                    _NEW_POLICY,
                    input={
                        "name": policy.name,
                        "description": policy.description,
                        "totalSlots": _slots(policy.cpu, policy.memory),
                        "maxConcurrentSessions": policy.sessions,
                        "idleTimeoutSeconds": policy.idle_seconds,
                    },
                )
                known[policy.name] = made["createResourcePolicy"]["resourcePolicy"]["id"]
        return known

    async def _presets(self) -> None:
        known = _ids(await self._client.ask(_PRESETS), "resourcePresets", "name")
        for preset in PRESETS:
            if preset.name not in known:
                more = [{"name": preset.more[0], "amount": preset.more[1]}] if preset.more else []
                given = {"name": preset.name, "description": preset.description}
                slots = _slots(preset.cpu, preset.memory) + more
                await self._client.ask(_NEW_PRESET, input={**given, "slots": slots})

    async def _groups(self, domain: str) -> dict[str, str]:
        known = _ids(await self._client.ask(_GROUPS, domain=domain), "groups", "name")
        for group in GROUPS:
            if group.name not in known:
                limits = [{"name": "cpu", "amount": group.cpu}] if group.cpu else []
                given = {"domainId": domain, "name": group.name, "description": group.description}
                made = await self._client.ask(_NEW_GROUP, input={**given, "totalSlots": limits})
                known[group.name] = made["createGroup"]["group"]["id"]
        return {name: known[name] for name in (group.name for group in GROUPS)}

    async def _users(self, domain: str, groups: dict[str, str]) -> dict[str, str]:
        known = _ids(await self._client.ask(_USERS), "users", "email")
        for person in PEOPLE:
            if person.email not in known:
                made = await self._client.ask(
                    _NEW_USER,
                    input={
                        "domainId": domain,
                        "email": person.email,
                        "name": person.email.partition("@")[0],
                        "fullName": person.full_name,
                        "password": self._kept["password"],
                        "role": person.role,
                        "groupIds": [groups[name] for name in person.groups],
                    },
                )
                known[person.email] = made["createUser"]["user"]["id"]
        return {person.email: known[person.email] for person in PEOPLE}

    async def _keypairs(self, users: dict[str, str], policies: dict[str, str]) -> None:
        for person in PEOPLE:
            if person.email not in self._kept["keypairs"]:
                given = {"userId": users[person.email], "policyId": policies[person.policy]}
                made = (await self._client.ask(_NEW_KEYPAIR, input=given))["createKeypair"]
                self._kept["keypairs"][person.email] = [made["keypair"]["accessKey"], made["secretKey"]]
                # At once: a secret key is shown this one time.
                write_private(self._file, json.dumps(self._kept, indent=2, ensure_ascii=False))

    async def _sessions(self, who: dict[str, Any], groups: dict[str, str], users: dict[str, str]) -> str:
        """Ask for the sessions as the people themselves; a sentence on what came of it."""
        images = sorted(who["images"]["nodes"], key=lambda image: int(image["size"]))
        resource_groups = who["viewer"]["resourceGroups"]
        if not images or not resource_groups:
            return "none: no node has an image yet; run `berth demo` again once one has"
        image, resource_group = images[0]["id"], resource_groups[0]["id"]
        made, refused = 0, ""
        for wanted in (*SESSIONS, WAITING):
            known = await self._client.ask(_SESSIONS, user=users[wanted.email])
            if wanted.name in {session["name"] for session in known["sessions"]["nodes"]}:
                continue
            slots = _slots(wanted.cpu, wanted.memory)
            async with self._client.as_keypair(*self._kept["keypairs"][wanted.email]) as theirs:
                if wanted is WAITING:
                    slots = await self._whole_node(theirs, groups[wanted.group], resource_group)
                try:
                    await theirs.ask(
                        _NEW_SESSION,
                        input={
                            "groupId": groups[wanted.group],
                            "resourceGroupId": resource_group,
                            "imageId": image,
                            "name": wanted.name,
                            "type": wanted.type,
                            "startupCommand": wanted.command,
                            "slots": slots,
                        },
                    )
                except ClientFailure as failure:
                    # A small machine: the others are worth having all the same.
                    refused = f"; {wanted.name} was refused: {failure}"
                else:
                    made += 1
        return f"{made} asked for{refused}" if made or refused else "there already"

    async def _whole_node(self, client: Client, group: str, resource_group: str) -> list[dict[str, str]]:
        found = await client.ask(_AVAILABLE, group=group, resourceGroup=resource_group)
        capacity = {slot["name"]: slot["largestCapacity"] for slot in found["availability"]["slots"]}
        return [{"name": name, "amount": capacity[name]} for name in ("cpu", "mem")]

    def _read(self) -> dict[str, Any]:
        try:
            return json.loads(self._file.read_text())
        except (OSError, ValueError):
            return {"password": f"Demo-{secrets.token_urlsafe(9)}-7", "keypairs": {}}


def _ids(answer: dict[str, Any], connection: str, by: str) -> dict[str, str]:
    return {node[by]: node["id"] for node in answer[connection]["nodes"]}


def _slots(cpu: str, memory: int) -> list[dict[str, str]]:
    return [{"name": "cpu", "amount": cpu}, {"name": "mem", "amount": str(memory)}]
