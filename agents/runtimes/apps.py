"""How an image says that its apps are started: /etc/berth/services.json (see docker/images/README.md)."""

import msgspec

PATH = "/etc/berth/services.json"


class App(msgspec.Struct, frozen=True):
    """One app. `stdio`: nothing listens, each connection is a run of the command."""

    command: tuple[str, ...]
    port: int = 0
    protocol: str = "http"
    prestart: tuple[tuple[str, ...], ...] = ()
    environ: dict[str, str] = {}
    start_timeout: float = 30.0

    def filled(self, arguments: tuple[str, ...], *, base_url: str = "/") -> list[str]:
        """Arguments with `{port}`, `{bind}` and `{base_url}` filled in."""
        values = {"{port}": str(self.port), "{bind}": "0.0.0.0", "{base_url}": base_url}  # noqa: S104  # the container's
        filled: list[str] = []
        for argument in arguments:
            for name, value in values.items():
                argument = argument.replace(name, value)
            filled.append(argument)
        return filled


def read(document: bytes) -> dict[str, App]:
    """Definitions by name; a malformed document is as good as none: its apps then have to listen by themselves."""
    try:
        return msgspec.json.decode(document, type=dict[str, App])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
