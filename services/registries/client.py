"""One registry, asked by the Docker Registry HTTP API v2 (the OCI distribution specification), with Docker Hub's and
Harbor's own ways to say what they have.

    /v2/_catalog, /v2/REPOSITORY/tags/list      pages, by the Link header
    /v2/REPOSITORY/manifests/TAG                an image, or an index of images by platform
    /v2/REPOSITORY/blobs/DIGEST                 an image's configuration, in which its labels are
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode, urljoin, urlsplit

import msgspec

from services.registries import challenges, manifests
from services.registries.credentials import Credentials
from services.registries.faults import BadAnswer, BrokenManifest, NotThere, RegistryFault, WrongPassword
from services.registries.http import LIMIT, Answer, Http, basic, host_of
from services.registries.inputs import PROJECT
from services.registries.manifests import Found

_PAGE: Final = 500
_HUB_PAGE: Final = 100
_MOST_PAGES: Final = 1000
_MOST_REPOSITORIES: Final = 50_000
_MOST_TAGS: Final = 10_000
_DOCKER_HUB: Final = "https://registry-1.docker.io"
_HUB_API: Final = "https://hub.docker.com"
_HUB_HOSTS: Final = ("auth.docker.io", "hub.docker.com")
#: Seconds that a token counts whose server does not say for how long, and before whose end it is asked for anew.
_TOKEN_LIFE: Final = 60.0
_TOKEN_MARGIN: Final = 10.0


class _Catalog(msgspec.Struct):
    repositories: list[str] | None = None


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


class _Token(msgspec.Struct):
    token: str = ""
    access_token: str = ""
    expires_in: float | None = None


class _HubRepository(msgspec.Struct):
    name: str
    namespace: str


class _HubPage(msgspec.Struct):
    results: list[_HubRepository]
    next: str | None = None


class _Named(msgspec.Struct):
    name: str


class RegistryClient:
    """See the module. To be closed.

    Args:
        kind: DOCKER, DOCKER_HUB or HARBOR.
        projects: what is looked through; none: all that it lists.
        more: of `Http`.
    """

    def __init__(
        self,
        url: str,
        kind: str = "DOCKER",
        *,
        known: Credentials | None = None,
        projects: Sequence[str] = (),
        trusted: Sequence[str] = (),
        **more: Any,
    ) -> None:
        self.url = _DOCKER_HUB if kind == "DOCKER_HUB" else url
        self._kind = kind
        self._known = known or Credentials()
        self._projects = projects
        hosts = (*trusted, *_HUB_HOSTS) if kind == "DOCKER_HUB" else trusted
        self._http = Http(self.url, trusted=hosts, **more)
        #: What is sent for a scope, and until when (monotonic).
        self._authorizations: dict[str, tuple[str, float]] = {}
        self._logging_in = asyncio.Lock()

    async def close(self) -> None:
        await self._http.close()

    async def check(self) -> None:
        """Is there a registry, and does it let us in?

        Raises:
            RegistryFault.
        """
        answer = await self._get("/v2/", "")
        if answer.status != 200:
            raise BadAnswer(f"{host_of(self.url)} is no registry: /v2/ answers with status {answer.status}.")

    async def repositories(self) -> AsyncIterator[str]:
        """Paths of all repositories that are to be looked through.

        Raises:
            RegistryFault.
        """
        match self._kind:
            case "DOCKER_HUB":
                source = self._hub_repositories()
            case "HARBOR":
                source = self._harbor_repositories()
            case _:
                source = self._catalog()
        seen: set[str] = set()
        async for path in source:
            if path in seen:
                continue
            seen.add(path)
            if len(seen) > _MOST_REPOSITORIES:
                raise BadAnswer(f"{host_of(self.url)} lists more than {_MOST_REPOSITORIES} repositories.")
            yield path

    async def tags(self, repository: str) -> list[str]:
        """All tags of a repository.

        Raises:
            RegistryFault.
        """
        found: list[str] = []
        async for page in self._pages(f"/v2/{_path(repository)}/tags/list?n={_PAGE}", _pulling(repository)):
            found += page.decode(_Tags).tags or []
            if len(found) > _MOST_TAGS:
                raise BadAnswer(f"{repository} has more than {_MOST_TAGS} tags.")
        return list(dict.fromkeys(found))

    async def images(self, repository: str, tag: str) -> list[Found]:
        """The images that a tag stands for, one for each architecture.

        Raises:
            RegistryFault.
        """
        if not manifests.TAG.fullmatch(tag):
            raise BrokenManifest("This is no name of a tag.")
        body, kind = await self._manifest(repository, tag)
        if not manifests.is_index(body, kind):
            return [await self._image(repository, body, kind)]
        found: list[Found] = []
        for digest in manifests.platforms(body):
            inner, inner_kind = await self._manifest(repository, digest)
            if manifests.is_index(inner, inner_kind):
                raise BrokenManifest("An index within an index.")
            image = await self._image(repository, inner, inner_kind)
            if image.architecture not in {one.architecture for one in found}:
                found.append(image)
        if not found:
            raise BrokenManifest("The index has no image for Linux.")
        return found

    async def _image(self, repository: str, body: bytes, kind: str) -> Found:
        manifest = manifests.read(body, kind)
        answer = await self._get(
            f"/v2/{_path(repository)}/blobs/{manifest.config}",
            _pulling(repository),
            limit=manifests.CONFIG_LIMIT,
        )
        if answer.status != 200:
            raise BrokenManifest(f"Its configuration is not there (status {answer.status}).")
        manifests.check_digest(answer.body, manifest.config)
        return manifests.found(manifest, answer.body)

    async def _manifest(self, repository: str, reference: str) -> tuple[bytes, str]:
        answer = await self._get(
            f"/v2/{_path(repository)}/manifests/{reference}",
            _pulling(repository),
            headers={"accept": ", ".join(manifests.ACCEPTED)},
        )
        if answer.status == 404:
            raise NotThere(f"{repository}:{reference} is not there any more.")
        if answer.status != 200:
            raise BadAnswer(f"Its manifest cannot be read (status {answer.status}).")
        if reference.startswith("sha256:"):
            manifests.check_digest(answer.body, reference)
        return answer.body, answer.headers.get("content-type", "").partition(";")[0].strip().lower()

    # What there is

    async def _catalog(self) -> AsyncIterator[str]:
        async for page in self._pages(f"/v2/_catalog?n={_PAGE}", "registry:catalog:*"):
            for path in page.decode(_Catalog).repositories or ():
                if self._wanted(path):
                    yield path

    async def _hub_repositories(self) -> AsyncIterator[str]:
        headers = await self._hub_login()
        for project in self._projects:
            if "/" in project:
                yield project
                continue
            url = f"{_HUB_API}/v2/namespaces/{project}/repositories?page_size={_HUB_PAGE}"
            for _ in range(_MOST_PAGES):
                answer = await self._http.ask(url, headers=headers)
                if answer.status == 404:
                    raise NotThere(f"Docker Hub has no namespace {project!r}, or does not show it.")
                self._expect(answer, f"The namespace {project!r}")
                page = answer.decode(_HubPage)
                for one in page.results:
                    path = f"{one.namespace}/{one.name}"
                    if self._wanted(path):
                        yield path
                if not page.next:
                    break
                url = self._following(answer.url, page.next)

    async def _hub_login(self) -> dict[str, str]:
        """Docker Hub's own interface has a login of its own; without one it shows what is public."""
        if not self._known.password:
            return {}
        asked = {"identifier": self._known.username, "secret": self._known.password}
        answer = await self._http.ask(
            f"{_HUB_API}/v2/auth/token",
            method="POST",
            body=msgspec.json.encode(asked),
            headers={"content-type": "application/json"},
        )
        if answer.status in (400, 401, 403):
            raise WrongPassword("Docker Hub does not know this user and password.")
        self._expect(answer, "Docker Hub's login")
        return {"authorization": f"Bearer {answer.decode(_Token).access_token}"}

    async def _harbor_repositories(self) -> AsyncIterator[str]:
        projects = list(self._projects) or [one async for one in self._harbor("/api/v2.0/projects")]
        for project in projects:
            if "/" in project:
                yield project
                continue
            # A project's name is one part of a path: Harbor has none with a slash.
            async for path in self._harbor(f"/api/v2.0/projects/{quote(project, safe='')}/repositories"):
                if PROJECT.fullmatch(path):
                    yield path

    async def _harbor(self, path: str) -> AsyncIterator[str]:
        headers = {"authorization": basic(self._known)} if self._known.password else {}
        for number in range(1, _MOST_PAGES + 1):
            url = f"{self.url}{path}?page={number}&page_size={_HUB_PAGE}"
            answer = await self._http.ask(url, headers=headers)
            if answer.status in (401, 403):
                raise WrongPassword(f"Harbor does not let this user look at {path}.")
            if answer.status == 404:
                raise NotThere(f"Harbor has no {path}. Is this a Harbor, and the project's name right?")
            self._expect(answer, path)
            page: list[_Named] = answer.decode(list[_Named])
            for one in page:
                yield one.name
            if len(page) < _HUB_PAGE:
                return

    def _wanted(self, path: str) -> bool:
        """What is no path of a repository is none that could be asked for."""
        if len(path) > 255 or not PROJECT.fullmatch(path):
            return False
        return not self._projects or any(
            path == project or path.startswith(f"{project}/") for project in self._projects
        )

    async def _pages(self, path: str, scope: str) -> AsyncIterator[Answer]:
        url, seen = urljoin(self.url, path), set[str]()
        while url:
            if url in seen or len(seen) >= _MOST_PAGES:
                raise BadAnswer(f"{host_of(self.url)} lists in circles.")
            seen.add(url)
            answer = await self._get(url, scope)
            if answer.status == 404:
                raise NotThere(f"{host_of(self.url)} does not list {urlsplit(url).path}.")
            self._expect(answer, urlsplit(url).path)
            yield answer
            url = self._following(answer.url, answer.next) if answer.next else ""

    def _following(self, url: str, following: str) -> str:
        """The next page: of the same host, wherever the answer says it is."""
        joined = urljoin(url, following)
        if urlsplit(joined)[:2] != urlsplit(url)[:2]:
            raise BadAnswer(f"{host_of(url)} has its next page elsewhere.")
        return joined

    def _expect(self, answer: Answer, what: str) -> None:
        if answer.status in (401, 403):
            raise WrongPassword(f"{host_of(answer.url)} does not let this user look at {what}.")
        if answer.status != 200:
            raise BadAnswer(
                f"{what} cannot be read: {host_of(answer.url)} answers with status {answer.status}."
            )

    # Being let in

    async def _get(
        self, path: str, scope: str, *, headers: Mapping[str, str] | None = None, limit: int = LIMIT
    ) -> Answer:
        """Ask the registry, logging in where it wants that.

        Args:
            scope: what a token is to be good for; empty: for being let in.
        """
        url = urljoin(self.url, path)
        answer = await self._http.ask(
            url, headers={**(headers or {}), **self._authorization(scope)}, limit=limit
        )
        if answer.status != 401:
            return answer
        async with self._logging_in:
            if not self._authorization(scope) or answer.headers.get("www-authenticate"):
                await self._log_in(answer, scope)
        answer = await self._http.ask(
            url, headers={**(headers or {}), **self._authorization(scope)}, limit=limit
        )
        if answer.status == 401:
            raise WrongPassword(f"{host_of(self.url)} does not let this user and password in.")
        return answer

    def _authorization(self, scope: str) -> dict[str, str]:
        value, until = self._authorizations.get(scope, ("", 0.0))
        return {"authorization": value} if value and time.monotonic() < until else {}

    async def _log_in(self, answer: Answer, scope: str) -> None:
        offered = challenges.parse(answer.headers.get("www-authenticate", ""))
        by_scheme = {one.scheme: one.parameters for one in reversed(offered)}
        if "bearer" in by_scheme:
            self._authorizations[scope] = await self._token(by_scheme["bearer"], scope)
        elif "basic" in by_scheme:
            if not self._known.password:
                raise WrongPassword(f"{host_of(self.url)} wants a user and a password.")
            self._authorizations[scope] = (basic(self._known), float("inf"))
        else:
            raise BadAnswer(f"{host_of(self.url)} does not say how to log in.")

    async def _token(self, parameters: Mapping[str, str], scope: str) -> tuple[str, float]:
        """A token of the server that the registry names (the distribution's token authentication)."""
        realm = parameters.get("realm", "")
        self._http.check_trusted(realm)
        wanted = parameters.get("scope") or scope
        query = {"service": parameters.get("service", ""), "scope": wanted}
        headers: dict[str, str] = {}
        if self._known.password:
            query["account"] = self._known.username
            headers["authorization"] = basic(self._known)
        separator = "&" if urlsplit(realm).query else "?"
        asked = urlencode({name: value for name, value in query.items() if value})
        answer = await self._http.ask(f"{realm}{separator}{asked}", headers=headers)
        if answer.status in (400, 401, 403):
            raise WrongPassword(f"{host_of(realm)} does not know this user and password.")
        self._expect(answer, "The registry's token")
        given = answer.decode(_Token)
        token = given.token or given.access_token
        if not token or not token.isascii() or not token.isprintable():
            raise BadAnswer(f"{host_of(realm)} gives no token.")
        life = given.expires_in if given.expires_in and given.expires_in > 0 else _TOKEN_LIFE
        return f"Bearer {token}", time.monotonic() + max(life - _TOKEN_MARGIN, life / 2)


def _path(repository: str) -> str:
    if not PROJECT.fullmatch(repository):
        raise BrokenManifest("This is no name of a repository.")
    return repository


def _pulling(repository: str) -> str:
    return f"repository:{repository}:pull"


__all__ = ["Found", "RegistryClient", "RegistryFault"]
