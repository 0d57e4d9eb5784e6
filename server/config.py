"""The manager's configuration: one typed object, from `berth.toml` and `BERTH_*` variables, everything with a default.

Later wins: defaults, `berth.toml` (in the working directory, or `BERTH_CONFIG`), `BERTH_*`, the command line.
"""

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from server.paths import default_data_dir
from services import options

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Config(BaseSettings):
    """See `docs/operator.md` for what each does; `berth config` prints them."""

    model_config = SettingsConfigDict(env_prefix="BERTH_", extra="ignore", validate_default=True)

    data_dir: Path = Field(
        default_factory=default_data_dir, description="Where database, secrets and logs live."
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on.")
    public_url: str = Field("", description="Where people reach the console; links are made from it.")
    database_url: str = Field(
        "", description="sqlite+aiosqlite:///PATH or postgresql+asyncpg://…; empty: SQLite in data_dir."
    )
    redis_url: str = Field("", description="redis://…, for several managers; empty: one manager.")
    allowed_hosts: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Host names that requests may name, besides public_url's, by commas.",
    )
    trusted_proxies: str = Field("", description="Addresses whose X-Forwarded-For is believed, by commas.")
    insecure: bool = Field(False, description="Listen on a public address without TLS.")
    tls_certificate: Path | None = Field(
        None, description="PEM file of the certificate chain; empty: no TLS."
    )
    tls_key: Path | None = Field(None, description="PEM file of its private key.")
    introspection: Literal["signed-in", "open", "off"] = "signed-in"
    graphiql: Literal["signed-in", "open", "off"] = Field(
        "open", description="Who gets the GraphQL playground's page; what it may ask, introspection says."
    )
    browser_operations: Literal["any", "console"] = Field(
        "any", description="What browsers may send: console lets only the console's own operations through."
    )
    admin_email: str = Field("admin@localhost.local", description="The first superadmin.")
    admin_password: SecretStr | None = Field(None, description="Its password, for unattended starts.")
    join_token: SecretStr | None = Field(None, description="A join token for a first agent.")
    sign_up: Literal["closed", "invitation", "open"] = Field(
        "closed", description="Who may make an account, as long as the setting signUpMode says nothing else."
    )
    settings: dict[str, Any] = Field(
        default_factory=dict[str, Any],
        description="Defaults of what administrators set while it runs (the API's settings), by their keys.",
    )
    log_format: Literal["plain", "json"] = "plain"
    metrics_allow: str = Field(
        "127.0.0.0/8,::1",
        description="Addresses and networks that may read /metrics, by commas; empty: none.",
    )
    metrics_token: SecretStr | None = Field(None, description="Whoever sends it may read /metrics.")
    otlp_endpoint: str = Field(
        "", description="An OpenTelemetry collector (OTLP over HTTP), http://HOST:4318; empty: no traces."
    )
    otlp_sample_ratio: float = Field(1.0, ge=0, le=1, description="Which part of requests is traced.")
    query_timeout: float = Field(10.0, gt=0, description="Seconds that one GraphQL operation may take.")

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return (
            [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        )

    @field_validator("metrics_allow")
    @classmethod
    def _check_networks(cls, value: str) -> str:
        _networks(value)
        return value

    @property
    def metrics_networks(self) -> list[Network]:
        return _networks(self.metrics_allow)

    @field_validator("settings")
    @classmethod
    def _check_settings(cls, value: dict[str, Any]) -> dict[str, Any]:
        return options.configured(value)

    @property
    def options(self) -> dict[str, Any]:
        """Defaults of runtime settings by key."""
        return {options.SIGN_UP_MODE.key: self.sign_up.upper(), **self.settings}

    @property
    def url(self) -> str:
        """Where the console is reached, without a slash at the end."""
        scheme = "https" if self.tls_certificate else "http"
        return (self.public_url or f"{scheme}://{_reachable(self.host)}:{self.port}").rstrip("/")

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite+aiosqlite:///{self.data_dir / 'berth.db'}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = Path(os.environ.get("BERTH_CONFIG", "berth.toml"))
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, file)


def _networks(text: str) -> list[Network]:
    return [ipaddress.ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip()]


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
