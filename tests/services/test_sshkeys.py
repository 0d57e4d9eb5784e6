"""SSH public keys: exactly a key each, as OpenSSH's own programs make and read them; private ones are nowhere."""

import asyncio
import base64
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key
from hypothesis import given
from hypothesis import strategies as st

from services import specs, sshkeys
from services.core import Core
from services.db.tables import Image, User
from services.errors import BadInput, Forbidden, RateLimited
from services.sshkeys import MOST
from tests.factories import SSH_KEY, Factories
from tests.services.world import World

BLOB = SSH_KEY.split()[1]


def wire(*parts: bytes) -> str:
    return base64.b64encode(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).decode()


@pytest.mark.ssh
@pytest.mark.parametrize(
    ("kind", "bits", "name"),
    [
        ("ed25519", 256, "ssh-ed25519"),
        ("rsa", 2048, "ssh-rsa"),
        ("ecdsa", 256, "ecdsa-sha2-nistp256"),
        ("ecdsa", 384, "ecdsa-sha2-nistp384"),
        ("ecdsa", 521, "ecdsa-sha2-nistp521"),
    ],
)
def test_what_openssh_makes_is_taken_and_has_the_same_fingerprint(
    tmp_path: Path, kind: str, bits: int, name: str
) -> None:
    path = tmp_path / "key"
    made = ["ssh-keygen", "-q", "-t", kind, "-b", str(bits), "-N", "", "-C", "me @ home", "-f", str(path)]
    subprocess.run(made, check=True)
    shown = subprocess.run(["ssh-keygen", "-lf", path], check=True, capture_output=True, text=True).stdout
    key = sshkeys.parse(path.with_suffix(".pub").read_text())
    assert (key.type, key.bits, key.comment) == (name, bits, "me @ home")
    assert shown.split()[:2] == [str(bits), key.fingerprint]
    assert key.text == path.with_suffix(".pub").read_text().strip()


def test_keys_of_security_tokens_are_taken() -> None:
    point = base64.b64decode(BLOB)[-32:]
    text = wire(b"sk-ssh-ed25519@openssh.com", point, b"ssh:")
    assert sshkeys.parse(f"sk-ssh-ed25519@openssh.com {text} token").bits == 256
    with pytest.raises(ValueError, match="whole key"):
        sshkeys.parse(f"sk-ssh-ed25519@openssh.com {wire(b'sk-ssh-ed25519@openssh.com', point, b'web:')}")


WRONG = {
    "nothing": "",
    "options before it": f'command="sh" {SSH_KEY}',
    "a second line": f"{SSH_KEY}\nssh-rsa AAAA",
    "a second line in its comment": f"ssh-ed25519 {BLOB} a\ncommand=x ssh-ed25519 {BLOB}",
    "a carriage return": f"{SSH_KEY}\rmore",
    "a null character": f"{SSH_KEY}\0",
    "a line separator": f"{SSH_KEY}\u2028x",
    "no key": "ssh-ed25519",
    "another type than it says": f"ssh-rsa {BLOB}",
    "a private key": "-----BEGIN OPENSSH PRIVATE KEY-----",
    "a certificate": "ssh-ed25519-cert-v01@openssh.com AAAA",
    "DSA": "ssh-dss AAAAB3NzaC1kc3M=",
    "no base64": f"ssh-ed25519 {BLOB[:-1]}!",
    "base64 without its padding": f"ssh-rsa {wire(b'ssh-rsa', b'a')[:-2]}",
    "another alphabet": f"ssh-ed25519 {BLOB.replace('/', '_')}",
    "half of it": f"ssh-ed25519 {BLOB[:40]}",
    "more after it": f"ssh-ed25519 {base64.b64encode(base64.b64decode(BLOB) + b'x' * 3).decode()}",
    "a short point": f"ssh-ed25519 {wire(b'ssh-ed25519', b'x' * 31)}",
    "a long comment": f"ssh-ed25519 {BLOB} {'x' * 129}",
    "very long": f"ssh-ed25519 {'A' * 5000}",
    "no point of its curve": f"ecdsa-sha2-nistp256 {wire(b'ecdsa-sha2-nistp256', b'nistp256', bytes([4]) + b'x' * 64)}",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG.keys())
def test_what_is_not_exactly_one_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as refused:
        sshkeys.parse(text)
    assert len(str(refused.value)) > 20


def test_a_weak_rsa_key_is_refused_with_its_length() -> None:
    modulus = (1 << 1023 | 1).to_bytes(129, "big")
    with pytest.raises(ValueError, match=r"1024|no key"):
        sshkeys.parse(f"ssh-rsa {wire(b'ssh-rsa', bytes([1, 0, 1]), modulus)}")


@given(st.text(max_size=200))
def test_whatever_is_taken_is_one_line_that_begins_with_a_type(text: str) -> None:
    for candidate in (text, f"ssh-ed25519 {BLOB} {text}"):
        try:
            key = sshkeys.parse(candidate)
        except ValueError:
            continue
        assert len(key.text.splitlines()) == 1
        assert key.text.split()[:2] == ["ssh-ed25519", BLOB]
        assert sshkeys.parse(key.text) == key


async def test_keys_are_replaced_all_together_or_not_at_all(core: Core, make: Factories) -> None:
    user = await make.user(ssh_public_keys=[SSH_KEY])
    actor = make.actor(user)
    with pytest.raises(BadInput) as refused:
        await sshkeys.replace(core, actor, [SSH_KEY, "nonsense", "ssh-rsa x"])
    assert [path for path, _ in refused.value.fields] == ["input.publicKeys.1", "input.publicKeys.2"]
    with pytest.raises(BadInput):
        await sshkeys.replace(core, actor, [SSH_KEY] * (MOST + 1))
    with pytest.raises(Forbidden):
        await sshkeys.replace(core, make.actor(user, must_change_password=True), [])
    assert (await make.fresh(user)).ssh_public_keys == [SSH_KEY]
    twice = await sshkeys.replace(core, actor, [f"ssh-ed25519 {BLOB} one", f"ssh-ed25519 {BLOB} two"])
    assert [key.comment for key in twice] == ["one"]
    assert await sshkeys.replace(core, actor, []) == []
    assert (await make.fresh(user)).ssh_public_keys == []


@pytest.mark.parametrize(
    ("algorithm", "kind", "bits"), [("ED25519", "ssh-ed25519", 256), ("RSA", "ssh-rsa", 3072)]
)
async def test_a_generated_key_fits_its_private_one_which_is_kept_nowhere(
    core: Core, make: Factories, algorithm: str, kind: str, bits: int
) -> None:
    user = await make.user(ssh_public_keys=[SSH_KEY])
    made = await sshkeys.generate(core, make.actor(user), algorithm, add=True)
    assert (made.public.type, made.public.bits) == (kind, bits)
    private = load_ssh_private_key(made.private.encode(), None)
    public = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    assert public == made.public.text
    assert made.private not in repr(made)
    row = await make.fresh(user)
    assert row.ssh_public_keys == [SSH_KEY, made.public.text]
    secret = "".join(made.private.splitlines()[1:-1])[-200:-100]
    assert secret not in repr([getattr(row, name) for name in User.__table__.columns.keys()])  # noqa: SIM118  # columns, not their names
    replaced = await sshkeys.generate(core, make.actor(user), "ED25519")
    assert (await make.fresh(user)).ssh_public_keys == [replaced.public.text]


async def test_keys_that_are_added_at_once_are_all_there_and_not_too_many(
    core: Core, make: Factories
) -> None:
    user = await make.user()
    actor = make.actor(user)
    made = await asyncio.gather(*(sshkeys.generate(core, actor, "ED25519", add=True) for _ in range(6)))
    assert set((await make.fresh(user)).ssh_public_keys) == {one.public.text for one in made}
    with pytest.raises(RateLimited):
        await asyncio.gather(*(sshkeys.generate(core, actor, "ED25519") for _ in range(6)))


async def test_a_new_session_is_given_its_users_keys(core: Core) -> None:
    world = await World(core).build()
    owner = await world.user(ssh_public_keys=[SSH_KEY, f"ssh-ed25519 {BLOB} second"])
    bare = await world.user()
    async with core.db.read() as db:
        keys = await sshkeys.authorized_keys(db, [owner.user_id, bare.user_id])
    assert keys == {owner.user_id: [SSH_KEY, f"ssh-ed25519 {BLOB} second"], bare.user_id: []}
    await world.agent()
    session = await world.launch(owner)
    kernel = await world.kernel(session.id)
    image = await world.image()
    async with core.db.read() as db:
        from_row = await db.get_one(Image, image)
    with_keys = specs.describe(
        kernel,
        session,
        from_row,
        [kernel],
        core.keys,
        pull="IF_NOT_PRESENT",
        authorized_keys=keys[owner.user_id],
    )
    assert with_keys.environ["BERTH_SSH_AUTHORIZED_KEYS"].splitlines() == keys[owner.user_id]
    without = specs.describe(
        kernel,
        session,
        from_row,
        [kernel],
        core.keys,
        pull="IF_NOT_PRESENT",
        authorized_keys=keys[bare.user_id],
    )
    assert "BERTH_SSH_AUTHORIZED_KEYS" not in without.environ
