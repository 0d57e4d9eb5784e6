"""What a build needs of this host to reach its registries: certificates, proxies, settings of apt, pip and npm."""

import configparser
import contextlib
import os
import re
import ssl
import subprocess
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class HostSettings:
    """Files (path in the image → content) and variables that a build needs on this host."""

    files: dict[str, bytes] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    proxies: dict[str, str] = field(default_factory=dict)
    local: bool = False


#: The Debian that the images stand on.
SUITE = "bookworm"
PLACE = "/etc/berth-build"
PIP_KEYS = ("index-url", "extra-index-url", "trusted-host", "proxy", "default-timeout", "timeout", "retries")


def host_settings() -> HostSettings:
    settings = HostSettings()
    _certificates(settings)
    _apt(settings)
    if pip := _pip():
        settings.files[f"{PLACE}/pip.conf"] = (
            "[global]\n" + "".join(f"{k} = {v}\n" for k, v in pip.items())
        ).encode()
        settings.variables["PIP_CONFIG_FILE"] = f"{PLACE}/pip.conf"
    if npm := _npm():
        settings.files[f"{PLACE}/npmrc"] = "".join(f"{line}\n" for line in npm).encode()
        settings.variables["NPM_CONFIG_GLOBALCONFIG"] = f"{PLACE}/npmrc"
    for name in ("http_proxy", "https_proxy", "no_proxy", "ftp_proxy", "all_proxy"):
        if value := os.environ.get(name) or os.environ.get(name.upper()):
            settings.proxies[name] = settings.proxies[name.upper()] = value
    texts = b"".join(settings.files.values()) + "".join(settings.proxies.values()).encode()
    # A proxy or an index on this very host is reached only from the host's own network.
    settings.local = bool(re.search(rb"//([^/@\s]*@)?(localhost|127\.0\.0\.1|\[::1\])[:/]", texts))
    if settings.files:
        undo = f"#!/bin/sh\nrm -rf {PLACE} /etc/apt/apt.conf.d/99berth-build\n"
        settings.files[f"{PLACE}/undo"] = undo.encode()
    return settings


def _certificates(settings: HostSettings) -> None:
    """Extra authorities as files for update-ca-certificates; and one bundle of all for the time before that ran."""
    extra = sorted(Path("/usr/local/share/ca-certificates").rglob("*.crt"))
    extra += sorted(Path("/etc/pki/ca-trust/source/anchors").glob("*"))
    named = {
        os.environ.get(name)
        for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
    }
    bundles = [
        ssl.get_default_verify_paths().cafile,
        "/etc/ssl/certs/ca-certificates.crt",
        *sorted(filter(None, named)),
    ]
    texts = [Path(path).read_bytes() for path in dict.fromkeys(bundles) if path and Path(path).is_file()]
    for number, path in enumerate(extra):
        if path.is_file():
            text = path.read_bytes()
            settings.files[f"/usr/local/share/ca-certificates/berth-host-{number}.crt"] = text
            texts.append(text)
    if not extra and not any(named):
        return
    found = re.findall(
        rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", b"\n".join(texts), re.DOTALL
    )
    settings.files[f"{PLACE}/bundle.crt"] = b"\n".join(dict.fromkeys(found)) + b"\n"
    for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"):
        settings.variables[name] = f"{PLACE}/bundle.crt"


def apt_sources() -> list[tuple[str, list[str]]]:
    """(URI, suites) of this host's apt sources, in the order in which apt reads them."""
    found: list[tuple[str, list[str]]] = []
    apt = Path("/etc/apt")
    for path in [apt / "sources.list", *sorted(apt.glob("sources.list.d/*.list"))]:
        text = path.read_text() if path.is_file() else ""
        pairs = re.findall(r"^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+", text, re.MULTILINE)
        found += [(uri, [suite]) for uri, suite in pairs]
    for path in sorted(apt.glob("sources.list.d/*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text()):
            keys = dict(re.findall(r"^([\w-]+):[ \t]*(.*)$", stanza, re.MULTILINE))
            if "deb" in keys.get("Types", "").split() and keys.get("Enabled", "yes") != "no":
                found += [(uri, keys.get("Suites", "").split()) for uri in keys.get("URIs", "").split()]
    return found


def _apt(settings: HostSettings) -> None:
    """This host's mirrors where it is the same Debian; proxy and other settings of apt's transport everywhere."""
    lines = [
        f"deb {uri} {suite} main\n"
        for uri, suites in apt_sources()
        for suite in suites
        if suite.startswith(SUITE)
    ]
    lines = [line for line in lines if line.startswith("deb http")]
    standard = all(urllib.parse.urlsplit(line.split()[1]).hostname == "deb.debian.org" for line in lines)
    config = ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        config = subprocess.run(
            ["apt-config", "dump"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    wanted = r"^Acquire::(?:https?::|Check-|Retries|AllowInsecure).*$"
    kept = [
        line
        for line in re.findall(wanted, config, re.MULTILINE)
        if "User-Agent" not in line and '""' not in line
    ]
    if f"{PLACE}/bundle.crt" in settings.files:
        kept = [line for line in kept if "CaInfo" not in line] + [
            f'Acquire::https::CaInfo "{PLACE}/bundle.crt";'
        ]
    if lines and not standard:
        settings.files[f"{PLACE}/sources.list"] = "".join(dict.fromkeys(lines)).encode()
        kept += [
            f'Dir::Etc::SourceList "{PLACE}/sources.list";',
            f'Dir::Etc::SourceParts "{PLACE}/sources.list.d";',
        ]
    if kept:
        settings.files["/etc/apt/apt.conf.d/99berth-build"] = "".join(f"{line}\n" for line in kept).encode()
    for path in [Path("/etc/apt/auth.conf"), *sorted(Path("/etc/apt/auth.conf.d").glob("*.conf"))]:
        if path.is_file() and os.access(path, os.R_OK):
            settings.files[f"{PLACE}/auth.conf.d/{path.name}"] = path.read_bytes()
            line = f'Dir::Etc::netrcparts "{PLACE}/auth.conf.d";\n'.encode()
            config_file = "/etc/apt/apt.conf.d/99berth-build"
            settings.files[config_file] = settings.files.get(config_file, b"").replace(line, b"") + line


def _pip() -> dict[str, str]:
    """What pip would be told on this host about indexes and proxies; paths of this host mean nothing in a build."""
    files = [
        *(f"{folder}/pip/pip.conf" for folder in os.environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":"))
    ]
    files += [
        "/etc/pip.conf",
        "~/.pip/pip.conf",
        "~/.config/pip/pip.conf",
        "~/Library/Application Support/pip/pip.conf",
    ]
    files += [
        f"{os.environ.get('VIRTUAL_ENV', '/nonexistent')}/pip.conf",
        os.environ.get("PIP_CONFIG_FILE", ""),
    ]
    parser = configparser.RawConfigParser()
    for file in filter(None, files):
        with contextlib.suppress(configparser.Error, UnicodeDecodeError):
            parser.read(Path(file).expanduser())
    found: dict[str, str] = {}
    for section in ("global", "install"):
        found |= dict(parser.items(section)) if parser.has_section(section) else {}
    found |= {k[4:].lower().replace("_", "-"): v for k, v in os.environ.items() if k.startswith("PIP_")}
    kept: dict[str, str] = {}
    for key in PIP_KEYS:
        words = [word for word in found.get(key, "").split() if not word.startswith(("file:", "/", "~"))]
        if words:
            kept[key] = " ".join(words)
    return kept


def _npm() -> list[str]:
    """The lines of npm's settings that say where its registry is and how to get in."""
    wanted = re.compile(r"(registry|proxy|https-proxy|noproxy|strict-ssl|//\S+|@\S+:registry)\s*=")
    texts = [Path(path).expanduser() for path in ("/etc/npmrc", "~/.npmrc")]
    lines = [line.strip() for path in texts if path.is_file() for line in path.read_text().splitlines()]
    for name, value in os.environ.items():
        if name.lower().startswith("npm_config_"):
            lines.append(f"{name[11:].lower().replace('_', '-')}={value}")
    return [line for line in lines if wanted.match(line)]
