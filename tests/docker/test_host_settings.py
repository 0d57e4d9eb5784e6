"""What of this host's way to its registries goes into a build, and what must not."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

from .conftest import ROOT

pytestmark = pytest.mark.xdist_group("docker")


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script's module as the script imports it, on a host whose home and environment are bare."""
    for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "VIRTUAL_ENV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "xdg"))
    monkeypatch.syspath_prepend(ROOT / "docker")
    sys.modules.pop("host_settings", None)
    return importlib.import_module("host_settings")


def test_pip_takes_indexes_and_leaves_paths_of_the_host(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://user:secret@pypi.example/simple\n"
        "extra-index-url = file:///opt/wheels/simple https://more.example/simple\n"
        "find-links = /opt/wheels\nconstraint = /etc/constraints.txt\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "77")
    text = module.host_settings().files["/etc/berth-build/pip.conf"].decode()
    assert "index-url = https://user:secret@pypi.example/simple\n" in text
    assert "extra-index-url = https://more.example/simple\n" in text
    assert "default-timeout = 77\n" in text
    assert "/opt" not in text
    assert "constraint" not in text


def test_npm_takes_the_registry_and_its_credentials_alone(module: ModuleType, tmp_path: Path) -> None:
    (tmp_path / ".npmrc").write_text(
        "registry=https://npm.example/\n//npm.example/:_authToken=secret\nprefix=/opt/npm\ncafile=/etc/my.pem\n"
    )
    lines = module.host_settings().files["/etc/berth-build/npmrc"].decode().splitlines()
    assert "registry=https://npm.example/" in lines
    assert "//npm.example/:_authToken=secret" in lines
    assert not [line for line in lines if "prefix" in line or "cafile" in line]


@pytest.mark.parametrize(
    ("proxy", "local"),
    [
        ("http://127.0.0.1:3128", True),
        ("http://user:word@localhost:3128", True),
        ("http://proxy.example:3128", False),
    ],
)
def test_a_proxy_on_this_host_is_reached_by_the_hosts_network(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, proxy: str, local: bool
) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    settings = module.host_settings()
    assert settings.local is local
    assert settings.proxies["HTTPS_PROXY"] == proxy
    assert proxy.encode() not in b"".join(settings.files.values())


def test_what_is_laid_over_the_base_is_taken_off_again_by_one_command(module: ModuleType) -> None:
    settings = module.host_settings()
    kept = ("/usr/local/share/ca-certificates/", "/etc/berth-build/", "/etc/apt/apt.conf.d/99berth-build")
    assert all(path.startswith(kept) for path in settings.files)
    if settings.files:
        undo = settings.files["/etc/berth-build/undo"].decode()
        assert "rm -rf /etc/berth-build /etc/apt/apt.conf.d/99berth-build" in undo
