"""The console's static files: hashed assets for ever, the shell never cached, brotli or gzip as built."""

import mimetypes
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response

_ENCODINGS: Final = (("br", ".br"), ("gzip", ".gz"))


class Console:
    """Serves `webui/dist`; every path that is no file is the application's own (it has its own router)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.resolve()
        # Known once: a request names one of these or none, so no path of a request ever reaches the file system.
        self._files = {
            path.relative_to(self._directory).as_posix(): path
            for path in (self._directory.rglob("*") if directory.is_dir() else ())
            if path.is_file() and path.suffix not in (".br", ".gz")
        }

    async def __call__(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return PlainTextResponse("Method not allowed", 405, headers={"allow": "GET, HEAD"})
        name = request.path_params.get("path", "")
        path = self._files.get(name)
        if path is None and (name.startswith("assets/") or "." in name.rpartition("/")[2]):
            return PlainTextResponse("Not found", 404)
        return self.serve(request, path or self._files.get("index.html"))

    def page(self, name: str) -> "Path | None":
        return self._files.get(name)

    def serve(self, request: Request, path: "Path | None") -> Response:
        if path is None:
            return PlainTextResponse(
                "The console has not been built. Run scripts/up, or `npm run build` in webui/.", 503
            )
        headers = {"cache-control": "no-cache", "vary": "accept-encoding"}
        if path.parent.name == "assets":
            headers["cache-control"] = "public, max-age=31536000, immutable"
        media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        accepted = request.headers.get("accept-encoding", "")
        for encoding, suffix in _ENCODINGS:
            packed = path.with_name(path.name + suffix)
            if encoding in accepted and packed.is_file():
                return FileResponse(
                    packed, headers={**headers, "content-encoding": encoding}, media_type=media_type
                )
        return FileResponse(path, headers=headers, media_type=media_type)
