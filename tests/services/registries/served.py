"""A real registry process for tests: open, behind a password, or behind a token server; and images pushed to it."""

import asyncio
import base64
import gzip
import hashlib
import io
import json
import tarfile
import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.flow.cluster import Process, eventually, free_port

USER: Final = "robot"
PASSWORD: Final = "open-sesame"
#: Of `PASSWORD` (bcrypt, 16 rounds).
_HTPASSWD: Final = f"{USER}:$2y$04$isfkuXy4GaGn.EIaNLC14efUj6WRITmiKeQIZ7F/emT4wwhSONWNe\n"
OURS: Final = {"berth.image.version": "1", "berth.environment": "Python", "berth.environment.version": "3.11"}
IMAGE: Final = "application/vnd.docker.distribution.manifest.v2+json"
OCI_IMAGE: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
_OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"


@dataclass
class Registry:
    """What a test does with a registry, by its own interface."""

    port: int
    auth: httpx.BasicAuth | None = None
    #: Gives a bearer token for a scope, where that is how one gets in.
    token: Any = None
    process: Process | None = None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    async def push(
        self,
        repository: str,
        tag: str,
        labels: Mapping[str, str] | None = OURS,
        *,
        architecture: str = "amd64",
        kind: str = IMAGE,
        **more: Any,
    ) -> str:
        """Push an image of one small layer. Returns its configuration's digest."""
        diff, layer = _layer(repository)
        config = {
            "architecture": architecture,
            "os": "linux",
            "config": {"Labels": dict(labels) if labels is not None else None},
            "rootfs": {"type": "layers", "diff_ids": [diff]},
            **more,
        }
        config_digest, size = await self.blob(repository, json.dumps(config).encode())
        layer_digest, layer_size = await self.blob(repository, layer)
        manifest = {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": {
                "mediaType": _OCI_CONFIG if kind == OCI_IMAGE else _CONFIG,
                "digest": config_digest,
                "size": size,
            },
            "layers": [{"mediaType": _LAYER, "digest": layer_digest, "size": layer_size}],
        }
        await self.manifest(repository, tag, kind, manifest)
        return config_digest

    async def push_index(self, repository: str, tag: str, architectures: Mapping[str, Any]) -> None:
        """Push an index of images, and an attestation beside them."""
        entries: list[dict[str, Any]] = []
        for architecture, labels in architectures.items():
            name = f"part-{architecture}"
            await self.push(repository, name, labels, architecture=architecture, kind=OCI_IMAGE)
            digest, size = await self.digest(repository, name)
            platform = {"architecture": architecture, "os": "linux"}
            entries.append({"mediaType": OCI_IMAGE, "digest": digest, "size": size, "platform": platform})
            await self.forget_tag(repository, name)
        nothing = {"architecture": "unknown", "os": "unknown"}
        entries.append({**entries[0], "platform": nothing})
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        await self.manifest(repository, tag, OCI_INDEX, index)

    async def blob(self, repository: str, data: bytes) -> tuple[str, int]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        async with self._client(repository) as client:
            begun = await client.post(f"/v2/{repository}/blobs/uploads/")
            assert begun.status_code == 202, begun.text
            url = httpx.URL(begun.headers["location"]).copy_merge_params({"digest": digest})
            put = await client.put(url, content=data)
            assert put.status_code == 201, put.text
        return digest, len(data)

    async def manifest(self, repository: str, tag: str, kind: str, document: Any) -> None:
        async with self._client(repository) as client:
            put = await client.put(
                f"/v2/{repository}/manifests/{tag}",
                content=json.dumps(document),
                headers={"content-type": kind},
            )
            assert put.status_code == 201, put.text

    async def digest(self, repository: str, tag: str) -> tuple[str, int]:
        async with self._client(repository) as client:
            head = await client.get(
                f"/v2/{repository}/manifests/{tag}", headers={"accept": f"{OCI_IMAGE}, {IMAGE}"}
            )
            return head.headers["docker-content-digest"], len(head.content)

    async def forget_tag(self, repository: str, tag: str) -> None:
        """What `docker-registry` cannot do by its interface: forget a tag and keep what it named."""
        links = self.storage / repository / "_manifests/tags" / tag
        for path in sorted(links.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        links.rmdir()

    @property
    def storage(self) -> Path:
        assert self.process is not None
        return self.process.log.parent / f"registry-{self.port}/docker/registry/v2/repositories"

    def _client(self, repository: str) -> httpx.AsyncClient:
        headers = {}
        if self.token is not None:
            headers["authorization"] = f"Bearer {self.token(f'repository:{repository}:pull,push')}"
        return httpx.AsyncClient(base_url=self.url, auth=self.auth, headers=headers)


def _layer(text: str) -> tuple[str, bytes]:
    """A layer with one file: its digest before it is compressed, and itself."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        entry = tarfile.TarInfo("hello")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text.encode()))
    data = plain.getvalue()
    return f"sha256:{hashlib.sha256(data).hexdigest()}", gzip.compress(data, mtime=0)


@asynccontextmanager
async def registry(folder: Path, *, password: bool = False) -> AsyncGenerator[Registry]:
    """A registry, open to all or to whom knows `PASSWORD`."""
    auth = ""
    if password:
        (folder / "htpasswd").write_text(_HTPASSWD)
        auth = f"auth: {{htpasswd: {{realm: r, path: {folder / 'htpasswd'}}}}}\n"
    async with _serving(folder, auth) as served:
        served.auth = httpx.BasicAuth(USER, PASSWORD) if password else None
        yield served


@asynccontextmanager
async def _serving(folder: Path, auth: str) -> AsyncGenerator[Registry]:
    served = Registry(free_port())
    settings = folder / f"registry-{served.port}.yml"
    settings.write_text(
        f"version: 0.1\nlog: {{level: error}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / f'registry-{served.port}'}}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '{served.host}'}}\n{auth}"
    )
    served.process = Process(
        ["docker-registry", "serve", str(settings)], {}, folder / f"registry-{served.port}.log"
    )
    served.process.start()

    async def answers() -> bool:
        with suppress(httpx.HTTPError):
            async with httpx.AsyncClient() as http:
                return (await http.get(f"{served.url}/v2/")).status_code in (200, 401)
        return False

    try:
        await eventually(answers, "the registry answers", served.process)
        yield served
    finally:
        served.process.stop()


@dataclass
class Tokens:
    """A token server: who knows `PASSWORD` gets what is asked for, everybody else nothing."""

    port: int
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    #: Scopes that were asked for, and whether the password came with it.
    asked: list[tuple[str, bool]] = field(default_factory=list[tuple[str, bool]])

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def token(self, scope: str) -> str:
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        access = [{"type": kind, "name": name, "actions": actions.split(",")}] if name else []
        now = int(time.time())
        claims = {
            "iss": "tokens", "sub": USER, "aud": "registry", "iat": now - 5, "nbf": now - 5, "exp": now + 300,
            "jti": uuid.uuid4().hex, "access": access,
        }  # fmt: skip
        chain = [base64.b64encode(self.certificate.public_bytes(Encoding.DER)).decode()]
        return jwt.encode(claims, self.key, algorithm="ES256", headers={"x5c": chain})

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *lines = head.split("\r\n")
        headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines)}
        expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        known = headers.get("authorization") == expected
        query = parse_qs(urlsplit(line.split()[1]).query)
        scope = query.get("scope", [""])[0]
        self.asked.append((scope, known))
        body = json.dumps({"token": self.token(scope), "expires_in": 300} if known else {}).encode()
        status = "200 OK" if known else "401 Unauthorized"
        writer.write(
            f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n"
            f"content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        await writer.drain()
        writer.close()


@asynccontextmanager
async def registry_with_tokens(folder: Path) -> AsyncGenerator[tuple[Registry, Tokens]]:
    """A registry that sends everybody to a token server on another host."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tokens")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "tokens.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    tokens = Tokens(free_port(), key, certificate)
    server = await asyncio.start_server(tokens.connection, "127.0.0.1", tokens.port)
    auth = (
        f"auth: {{token: {{realm: 'http://{tokens.host}/token', service: registry, issuer: tokens, "
        f"rootcertbundle: {folder / 'tokens.pem'}}}}}\n"
    )
    try:
        async with _serving(folder, auth) as served:
            served.token = tokens.token
            yield served, tokens
    finally:
        server.close()
        await server.wait_closed()
