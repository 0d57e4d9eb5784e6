"""What registries answer that are not here: Docker Hub, Harbor, and those that mean no good."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest

from agents.runtimes import docker_images
from services.images import labels
from services.registries import challenges, faults, manifests
from services.registries.client import RegistryClient
from services.registries.credentials import Credentials
from services.registries.http import Http
from tests.services.registries.served import OURS

KNOWN = Credentials("robot", "open-sesame")
URL = "https://r.example"

Answer = Callable[[httpx.Request], httpx.Response]


class Net:
    """In the network's place: answers by host and path; whoever is not there does not answer."""

    def __init__(self, **addresses: Sequence[str]) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[httpx.Request] = []
        self.pauses: list[float] = []
        self.addresses = {name.replace("_", "."): found for name, found in addresses.items()}

    def on(self, where: str, *answers: Answer | dict[str, Any] | list[Any] | int) -> None:
        """The first answers once each, the last for ever."""
        self.answers[where] = [one if callable(one) else _plain(one) for one in answers]

    def more(self) -> dict[str, Any]:
        return {
            "transport": httpx.MockTransport(self._handle), "resolve": self._resolve, "pause": self._pause,
        }  # fmt: skip

    def client(self, url: str = URL, kind: str = "DOCKER", **more: Any) -> RegistryClient:
        return RegistryClient(url, kind, **more, **self.more())

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answers = self.answers.get(f"{request.url.host}{request.url.path}")
        if answers is None:
            raise httpx.ConnectError("nobody there")
        return (answers.pop(0) if len(answers) > 1 else answers[0])(request)

    async def _resolve(self, host: str, _port: int) -> Sequence[str]:
        return self.addresses.get(host, ())

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def passwords(self) -> set[str]:
        """Hosts that were sent something to log in with."""
        return {
            request.url.host
            for request in self.asked
            if "authorization" in request.headers or b"open-sesame" in request.content
        }


def _plain(what: dict[str, Any] | list[Any] | int) -> Answer:
    return lambda _: httpx.Response(what) if isinstance(what, int) else httpx.Response(200, json=what)


def redirect(to: str) -> Answer:
    return lambda _: httpx.Response(307, headers={"location": to})


def challenge(header: str, then: dict[str, Any], *, by: str) -> Answer:
    """401 until the request carries what is wanted."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.headers.get("authorization", "").startswith(by):
            return httpx.Response(200, json=then)
        return httpx.Response(401, headers={"www-authenticate": header})

    return answer


async def test_docker_hub_lists_namespaces_and_logs_in_where_it_should() -> None:
    net = Net()
    net.on("hub.docker.com/v2/auth/token", {"access_token": "hub-token"})
    repositories = "hub.docker.com/v2/namespaces/acme/repositories"

    def pages(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer hub-token"
        if request.url.params.get("page") == "2":
            return httpx.Response(200, json={"results": [{"name": "two", "namespace": "acme"}], "next": None})
        following = f"https://{repositories}?page=2&page_size=100"
        return httpx.Response(
            200, json={"results": [{"name": "one", "namespace": "acme"}], "next": following, "count": 2}
        )

    net.on(repositories, pages)
    realm = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:acme/one:pull"'
    net.on("registry-1.docker.io/v2/acme/one/tags/list", challenge(realm, {"tags": ["1"]}, by="Bearer"))
    net.on("auth.docker.io/token", {"token": "t", "expires_in": 300})
    client = net.client(
        "https://index.docker.io", "DOCKER_HUB", known=KNOWN, projects=["acme", "library/debian"]
    )
    assert [one async for one in client.repositories()] == ["acme/one", "acme/two", "library/debian"]
    assert await client.tags("acme/one") == ["1"]
    asked = next(request for request in net.asked if request.url.host == "auth.docker.io")
    assert dict(asked.url.params) == {
        "service": "registry.docker.io", "scope": "repository:acme/one:pull", "account": "robot",
    }  # fmt: skip
    assert net.passwords() == {"hub.docker.com", "auth.docker.io", "registry-1.docker.io"}

    net.on("hub.docker.com/v2/auth/token", 401)
    with pytest.raises(faults.WrongPassword):
        _ = [one async for one in client.repositories()]
    net.on(repositories, {"results": [], "next": "https://evil.example/x"})
    public = net.client("https://index.docker.io", "DOCKER_HUB", projects=["acme"])
    with pytest.raises(faults.BadAnswer):
        _ = [one async for one in public.repositories()]
    net.on(repositories, 404)
    with pytest.raises(faults.NotThere):
        _ = [one async for one in public.repositories()]


async def test_harbor_lists_its_projects_or_those_that_were_named() -> None:
    net = Net()
    many = [{"name": f"p/r{number}"} for number in range(100)]
    net.on("r.example/api/v2.0/projects", [{"name": "p"}, {"name": "q"}])
    net.on("r.example/api/v2.0/projects/p/repositories", many, [{"name": "p/last"}])
    net.on("r.example/api/v2.0/projects/q/repositories", [{"name": "q/a/b"}, {"name": "../etc"}])
    client = net.client(kind="HARBOR", known=KNOWN)
    found = [one async for one in client.repositories()]
    assert (len(found), found[100], found[-1]) == (102, "p/last", "q/a/b")
    assert all(request.headers["authorization"].startswith("Basic ") for request in net.asked)
    net.asked.clear()
    named = net.client(kind="HARBOR", projects=["q"])
    assert [one async for one in named.repositories()] == ["q/a/b"]
    assert [request.url.path for request in net.asked] == ["/api/v2.0/projects/q/repositories"]
    for status, fault in ((403, faults.WrongPassword), (404, faults.NotThere), (418, faults.BadAnswer)):
        net.on("r.example/api/v2.0/projects/q/repositories", status)
        with pytest.raises(fault):
            _ = [one async for one in named.repositories()]


async def test_pages_are_followed_on_the_same_host_and_not_in_circles() -> None:
    net = Net()

    def linked(to: str, *names: str) -> Answer:
        return lambda _: httpx.Response(
            200, json={"repositories": names}, headers={"link": f'<{to}>; rel="next"'}
        )

    net.on(
        "r.example/v2/_catalog",
        linked("/v2/_catalog?last=b&n=2", "a", "b", "UPPER", "../x"),
        linked("https://r.example/v2/_catalog?last=c", "b", "c"),
        {"repositories": None},
    )
    assert [one async for one in net.client().repositories()] == ["a", "b", "c"]
    for bad in ("https://evil.example/v2/_catalog", "http://r.example/v2/_catalog", "/v2/_catalog?n=500"):
        net.on("r.example/v2/_catalog", linked(bad, "a"))
        with pytest.raises(faults.BadAnswer):
            _ = [one async for one in net.client().repositories()]


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (404, faults.NotThere),
        (403, faults.WrongPassword),
        (500, faults.Unreachable),
        (lambda _: httpx.Response(200, text="<html>"), faults.BadAnswer),
        (lambda _: httpx.Response(200, json={"tags": "all"}), faults.BadAnswer),
        (lambda _: httpx.Response(200, content=b"[" * 100_000), faults.BadAnswer),
        (lambda _: httpx.Response(200, content=b" " * (5 * 2**20)), faults.BadAnswer),
        (lambda _: httpx.Response(200, content=b"{}", headers={"content-encoding": "br"}), faults.BadAnswer),
        (lambda _: httpx.Response(401), faults.BadAnswer),
        (lambda _: httpx.Response(401, headers={"www-authenticate": "Basic realm=r"}), faults.WrongPassword),
    ],
)
async def test_every_answer_is_a_typed_fault(answer: Any, fault: type[faults.RegistryFault]) -> None:
    net = Net()
    net.on("r.example/v2/a/tags/list", answer)
    with pytest.raises(fault):
        await net.client().tags("a")


async def test_what_may_help_is_tried_again_with_growing_pauses_and_what_does_not_is_not() -> None:
    net = Net()
    net.on(
        "r.example/v2/a/tags/list",
        lambda _: httpx.Response(429, headers={"retry-after": "7"}),
        503,
        {"tags": ["1"]},
    )
    assert await net.client().tags("a") == ["1"]
    assert net.pauses[0] == 7
    assert 0.5 <= net.pauses[1] <= 1
    net.pauses.clear()
    net.asked.clear()
    net.on("r.example/v2/a/tags/list", lambda _: httpx.Response(429, headers={"retry-after": "99999"}))
    with pytest.raises(faults.Unreachable):
        await net.client().tags("a")
    assert (len(net.asked), net.pauses) == (4, [30, 30, 30])
    with pytest.raises(faults.Unreachable, match="nobody there"):
        await net.client().tags("nowhere")


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254/latest",
        "https://inside.example/secret",
        "https://both.example/",
        "https://mapped.example/",
        "https://nowhere.example/",
        "http://cdn.example/blob",
        "file:///etc/passwd",
        "https://user:pw@cdn.example/blob",
        "https://[::1]/",
    ],
)
async def test_it_sends_us_nowhere_but_to_public_addresses(location: str) -> None:
    net = Net(
        cdn_example=["93.184.216.34"], inside_example=["10.0.0.7"], both_example=["93.184.216.34", "127.0.0.1"],
        mapped_example=["::ffff:127.0.0.1"],
    )  # fmt: skip
    net.addresses |= {"169.254.169.254": ["169.254.169.254"], "::1": ["::1"]}
    net.on("r.example/v2/a/tags/list", redirect(location))
    with pytest.raises((faults.Elsewhere, faults.BadAnswer)):
        await net.client(known=KNOWN).tags("a")
    assert [request.url.host for request in net.asked] == ["r.example"]


async def test_a_public_store_is_asked_at_its_address_without_the_password_and_a_trusted_one_by_its_name() -> (
    None
):
    for addresses, trusted, host in (
        (["93.184.216.34"], [], "93.184.216.34"),
        (["10.0.0.7"], ["cdn.example"], "cdn.example"),
    ):
        net = Net(cdn_example=addresses)

        def wanted(request: httpx.Request) -> httpx.Response:
            if "authorization" not in request.headers:
                return httpx.Response(401, headers={"www-authenticate": "Basic realm=r"})
            return httpx.Response(307, headers={"location": "https://cdn.example/tags"})

        net.on("r.example/v2/a/tags/list", wanted)
        net.on(f"{host}/tags", {"tags": ["1"]})
        assert await net.client(known=KNOWN, trusted=trusted).tags("a") == ["1"]
        last = net.asked[-1]
        assert (last.url.host, last.headers["host"]) == (host, "cdn.example")
        assert last.extensions.get("sni_hostname", host) in ("cdn.example", host)
        assert net.passwords() == {"r.example"}


async def test_circles_end() -> None:
    net = Net()
    net.on("r.example/v2/a/tags/list", redirect("/v2/a/tags/list"))
    with pytest.raises(faults.BadAnswer, match="circles"):
        await net.client().tags("a")
    http = Http(URL, **net.more())
    with pytest.raises(faults.BadAnswer):
        await http.ask(f"{URL}/v2/a/tags/list", method="POST", body=b"x")


@pytest.mark.parametrize(
    "realm",
    ["https://evil.example/token", "http://r.example/token", "r.example", "https://r.example@evil.example/"],
)
async def test_a_password_goes_only_where_it_may(realm: str) -> None:
    net = Net(evil_example=["93.184.216.34"])
    net.on("r.example/v2/", challenge(f'Bearer realm="{realm}",service="s"', {}, by="never"))
    with pytest.raises((faults.Elsewhere, faults.BadAnswer)):
        await net.client(known=KNOWN).check()
    assert net.passwords() == set()


def test_nodes_and_scans_call_the_same_images_ours() -> None:
    assert docker_images._FAMILIES == labels.FAMILIES
    assert manifests._ARCHITECTURES == docker_images._ARCHITECTURES


def test_challenges_are_read_as_they_are_written() -> None:
    header = (
        'Basic realm="a, b", Bearer realm="https://x/t?a=b",service="s\\"q",scope="repository:a/b:pull,push"'
    )
    basic, bearer = challenges.parse(header)
    assert (basic.scheme, basic.parameters) == ("basic", {"realm": "a, b"})
    assert bearer.parameters == {
        "realm": "https://x/t?a=b", "service": 's"q', "scope": "repository:a/b:pull,push",
    }  # fmt: skip
    assert challenges.parse("Negotiate, Basic realm=r")[1].parameters == {"realm": "r"}
    for nothing in ("", ",,,", '"', "=" * 10_000, 'realm="x"'):
        assert [one.scheme for one in challenges.parse(nothing)] == []


DIGEST = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    "change",
    [
        {"config": None},
        {"config": {"digest": "../../x", "mediaType": manifests._CONFIGS[0]}},
        {"config": {"digest": DIGEST, "mediaType": "application/vnd.cncf.helm.config.v1+json"}},
        {"layers": [{"digest": DIGEST, "size": -1}]},
        {"layers": [{"digest": DIGEST, "size": 2**62}]},
        {"layers": [{"digest": DIGEST, "size": 1}] * 1001},
        {"layers": {}},
    ],
)
def test_a_manifest_that_cannot_be_is_broken(change: dict[str, Any]) -> None:
    good = {
        "config": {"digest": DIGEST, "mediaType": manifests._CONFIGS[0]},
        "layers": [{"digest": DIGEST, "size": 5}],
    }
    kind = manifests._MANIFESTS[0]
    assert manifests.read(json.dumps(good).encode(), kind).size == 5
    with pytest.raises(faults.BrokenManifest):
        manifests.read(json.dumps(good | change).encode(), kind)
    with pytest.raises(faults.BrokenManifest, match="version 1"):
        manifests.read(json.dumps(good).encode(), manifests._OLD[1])


@pytest.mark.parametrize(
    "config",
    [
        {"architecture": "amd64", "os": "windows"},
        {"architecture": "AMD 64!"},
        {"architecture": 5},
        {"architecture": "amd64", "config": {"Labels": {"a": 5}}},
        {"architecture": "amd64", "config": {"Labels": {str(number): "x" for number in range(501)}}},
        {"architecture": "amd64", "config": {"Labels": {"a": "x" * 300_000}}},
        {"architecture": "amd64", "config": {"Labels": {"a": "\0"}}},
        [],
    ],
)
def test_a_configuration_that_cannot_be_is_broken(config: Any) -> None:
    manifest = manifests.Manifest(DIGEST, 5)
    good = manifests.found(
        manifest, json.dumps({"architecture": "arm64", "config": {"Labels": OURS}}).encode()
    )
    assert (good.architecture, good.labels) == ("aarch64", OURS)
    with pytest.raises(faults.BrokenManifest):
        manifests.found(manifest, json.dumps(config).encode())
