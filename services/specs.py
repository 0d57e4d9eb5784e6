"""What a node has to know to run a kernel, from the rows of its session."""

from collections.abc import Sequence
from typing import Final, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from agents import protocol
from agents.protocol import Cluster, KernelSpec, ServicePort
from services.db.tables import Image, Kernel, Session
from services.keys import Keys
from services.registries.credentials import Credentials

#: Where main1 waits for the others of a distributed job (PyTorch's usual one).
_MASTER_PORT: Final = "29500"
_PULL_POLICIES: Final[dict[str, Literal["if-not-present", "always", "never"]]] = {
    "IF_NOT_PRESENT": "if-not-present",
    "ALWAYS": "always",
    "NEVER": "never",
}
#: The keys of the session's user, a line each, for the SSH server of an image.
AUTHORIZED_KEYS: Final = "BERTH_SSH_AUTHORIZED_KEYS"


def describe(
    kernel: Kernel,
    session: Session,
    image: Image,
    members: Sequence[Kernel],
    keys: Keys,
    *,
    pull: str,
    authorized_keys: Sequence[str] = (),
    known: Credentials | None = None,
) -> KernelSpec:
    """All that a node must know to run a kernel.

    Args:
        members: all kernels of its session, in the order of their ranks.
        pull: a value of `options.IMAGE_PULL_POLICY`.
        authorized_keys: public keys of its user, as lines of an authorized_keys file.
        known: as whom the image's registry is asked; None: nobody in particular.

    Raises:
        ValueError: the session's key was sealed with one that the secrets file no longer has.
    """
    environ = {
        "BERTH_SESSION_ID": session.id,
        "BERTH_SESSION_NAME": session.name,
        **_cluster_environ(kernel, members),
        **({AUTHORIZED_KEYS: "\n".join(authorized_keys)} if authorized_keys else {}),
        **dict.fromkeys(image.environment_names, str(max(1, -(-kernel.slots.get("cpu", 1000) // 1000)))),
        **session.environ,
    }
    batch, main = session.type == "BATCH", kernel.rank == 0
    scripts = [session.bootstrap_script, None if batch or not main else session.startup_command]
    return KernelSpec(
        session=session.id,
        session_name=session.name,
        image=image.reference,
        architecture=image.architecture,
        slots=kernel.slots,
        hostname=kernel.hostname,
        cluster=_cluster(session, members, keys) if len(members) > 1 else None,
        environ=environ,
        services=tuple(ServicePort(p["name"], p["protocol"], p["port"]) for p in image.service_ports),
        bootstrap="\n".join(script for script in scripts if script) or None,
        command=session.startup_command if batch and main else None,
        shared_memory=session.shared_memory,
        pull_policy=_PULL_POLICIES[pull],
        credentials=known.on_the_wire() if known else protocol.Credentials(),
    )


def _cluster_environ(kernel: Kernel, members: Sequence[Kernel]) -> dict[str, str]:
    """Where it stands among the others.

    `torchrun` takes its options from `PET_…` where its command line has none; Lightning takes `NODE_RANK` and `MASTER_…`.
    `WORLD_SIZE`, `RANK` and `LOCAL_RANK` are not set: whoever finds them takes itself for a process that a launcher has
    started, and waits for the others, in a notebook as well.
    """
    beside = [one for one in members if one.agent_id == kernel.agent_id]
    environ = {
        "BERTH_CLUSTER_SIZE": str(len(members)),
        "BERTH_CLUSTER_HOSTS": ",".join(one.hostname for one in members),
        "BERTH_CLUSTER_HOST": kernel.hostname,
        "BERTH_CLUSTER_ROLE": "sub" if kernel.rank else "main",
        "BERTH_CLUSTER_RANK": str(kernel.rank),
        "BERTH_CLUSTER_LOCAL_RANK": str([one.rank for one in beside].index(kernel.rank)),
    }
    if len(members) == 1:
        return environ
    return {
        **environ,
        "MASTER_ADDR": members[0].hostname,
        "MASTER_PORT": _MASTER_PORT,
        "NODE_RANK": str(kernel.rank),
        "PET_NNODES": str(len(members)),
        "PET_NODE_RANK": str(kernel.rank),
        "PET_MASTER_ADDR": members[0].hostname,
        "PET_MASTER_PORT": _MASTER_PORT,
    }


def _cluster(session: Session, members: Sequence[Kernel], keys: Keys) -> Cluster:
    spread = len({one.agent_id for one in members}) > 1
    private = public = ""
    if session.cluster_key is not None:
        seed = bytes.fromhex(keys.unseal(session.cluster_key, session.id))
        key = Ed25519PrivateKey.from_private_bytes(seed)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return Cluster(
        hosts=tuple(one.hostname for one in members),
        network=session.network if spread else "",
        private_key=private,
        public_key=public,
    )
