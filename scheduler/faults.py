"""When a plug-in is to blame."""


class PluginFault(Exception):
    """A sequencer or placer raised, or broke its contract.

    Args:
        kind: `sequencer` or `placer`.
        plugin: its class.
        message: what it did, for an admin.
    """

    def __init__(self, kind: str, plugin: object, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.plugin = f"{kind} {type(plugin).__name__}"
        self.message = message

    @classmethod
    def raised(cls, kind: str, plugin: object, error: Exception) -> "PluginFault":
        return cls(kind, plugin, f"{type(error).__name__}: {error}")
