"""Kernels as containers of a Docker engine (or of Podman, by its Docker-compatible socket).

A container is named `<kernel>-<generation>` and labelled with all that `recover` needs. It is hardened by default: user
1000, no capabilities, no new privileges, limits on memory (without swap), cpu and processes, a network of its session's
own, an init, nothing of the engine or the agent inside.

An engine that is killed can leave a live process behind a container that it calls `created`, and `rm -f` then leaves
that process alone. So before anything is made or called gone, the control group of every container that a kernel ever
had here is emptied; their ids are kept on disk, in case that the engine forgets them.
"""

import asyncio
import json
import os
import platform
import resource
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil
from aiodocker.exceptions import DockerError

from agents.protocol import Hardware, ImageInfo, KernelReport, KernelSpec, KernelStats, Phase
from agents.runtimes import apps, cgroups, disk
from agents.runtimes.cgroups import Cgroup
from agents.runtimes.contract import Duplex, Exit, Fingerprint, PullProgressSink, RuntimeFailure, Terminal
from agents.runtimes.docker_streams import DockerTerminal, ExecPipe, run
from agents.runtimes.engine import CALL_SECONDS, Engine, candidates, is_missing
from agents.runtimes.pipes import Pipe

_FAMILIES: Final = ("berth.image.version", "ai.backend.kernelspec")
_ARCHITECTURES: Final = {"amd64": "x86_64", "arm64": "aarch64"}
_PROCESSES: Final = 4096
#: Open files of one process; an engine cannot give more than it has itself.
_FILES: Final = min(16384, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
_HOME_EVERY: Final = 30.0
_LOG: Final = {"Type": "json-file", "Config": {"max-size": "16m", "max-file": "1"}}


class DockerRuntime:
    """See the module. Options: `reserve_memory` (bytes kept for the node itself), `cluster` (its name in labels)."""

    name = "docker"

    def __init__(self, state_dir: Path, options: dict[str, Any]) -> None:
        self._records = state_dir / "containers"
        self._reserve = int(options.get("reserve_memory", 256 * 2**20))
        self._cluster = str(options.get("cluster", ""))
        self._engine: Engine | None = None
        self._architectures: dict[str, str] = {}
        self._cpu: dict[str, tuple[float, int]] = {}
        self._pids: dict[str, int] = {}
        self._homes: dict[str, tuple[float, int]] = {}
        self._starting: dict[tuple[str, str], asyncio.Lock] = {}

    @property
    def _open(self) -> Engine:
        if self._engine is None:
            raise RuntimeFailure("ENGINE_UNREACHABLE", "The runtime was not opened.")
        return self._engine

    async def open(self) -> None:
        self._records.mkdir(parents=True, exist_ok=True)
        tried = candidates()
        for url in tried:
            engine = Engine(url)
            try:
                await engine.call(engine.docker.version(), "ENGINE_UNREACHABLE", "Connecting", deadline=5)
            except RuntimeFailure:
                await engine.close()
                continue
            self._engine = engine
            return
        raise RuntimeFailure(
            "ENGINE_UNREACHABLE",
            f"No container engine answers ({', '.join(tried) or 'no socket found'}). Start Docker or Podman, "
            "or set DOCKER_HOST, or use the process runtime.",
        )

    async def close(self) -> None:
        if self._engine is not None:
            await self._engine.close()
            self._engine = None

    async def fingerprint(self) -> Fingerprint:
        engine = self._open
        info: Any = await engine.call(engine.docker.system.info(), "ENGINE_UNREACHABLE", "Asking the engine")
        cpus, memory = int(info["NCPU"]), int(info["MemTotal"])
        return Fingerprint(
            architecture=platform.machine(),
            slots={"cpu": cpus * 1000, "mem": max(0, memory - self._reserve)},
            hardware=Hardware(
                hostname=platform.node(),
                os=str(info.get("OperatingSystem", "")),
                kernel=platform.release(),
                cpu_model=_cpu_model(),
                cpu_count=cpus,
                memory=memory,
                disk=shutil.disk_usage(self._records).total,
                engine=f"Docker {info.get('ServerVersion', '')}",
            ),
        )

    # Images

    async def images(self) -> Sequence[ImageInfo]:
        engine = self._open
        listed: list[Any] = await engine.call(
            engine.docker.images.list(), "ENGINE_UNREACHABLE", "Listing images"
        )
        found: list[ImageInfo] = []
        for image in listed:
            labels = image.get("Labels") or {}
            if not any(family in labels for family in _FAMILIES):
                continue
            architecture = await self._architecture(image["Id"])
            found += [
                ImageInfo(reference, image["Id"], architecture, int(image["Size"]), labels)
                for reference in image.get("RepoTags") or ()
                if reference != "<none>:<none>"
            ]
        return found

    async def pull(
        self, image: str, progress: PullProgressSink, username: str = "", password: str = ""
    ) -> None:
        engine = self._open
        auth = {"username": username, "password": password} if username else None
        layers: dict[str, tuple[int, int]] = {}

        async def follow() -> None:
            async for step in engine.docker.images.pull(image, auth=auth, stream=True):
                if "error" in step:
                    raise RuntimeFailure("PULL_FAILED", f"Pulling {image}: {step['error']}")
                detail = step.get("progressDetail") or {}
                if step.get("status") == "Downloading" and detail.get("total"):
                    layers[step["id"]] = (int(detail["current"]), int(detail["total"]))
                elif (
                    step.get("status") in ("Download complete", "Pull complete") and step.get("id") in layers
                ):
                    total = layers[step["id"]][1]
                    layers[step["id"]] = (total, total)
                if layers:
                    progress(
                        sum(now for now, _ in layers.values()), sum(total for _, total in layers.values())
                    )

        await engine.call(follow(), "PULL_FAILED", f"Pulling {image}", deadline=24 * 3600)

    async def remove_image(self, image: str) -> None:
        engine = self._open
        try:
            await engine.call(
                _absent_is_done(engine.docker.images.delete(image)), "REMOVE_FAILED", f"Removing {image}"
            )
        finally:
            self._architectures.clear()

    # A kernel's life

    async def create(self, kernel: str, generation: int, spec: KernelSpec) -> str:
        engine = self._open
        _, network = await asyncio.gather(self._end_all(kernel), self._network(spec.session))
        what = f"Creating the container from {spec.image}"
        config = self._config(kernel, generation, spec, network)
        container = await engine.call(
            engine.docker.containers.create(config, name=_name(kernel, generation)),
            "CREATE_FAILED",
            what,
            deadline=120,
        )
        self._record(kernel, container.id)
        return container.id

    async def start(self, kernel: str, generation: int) -> None:
        engine = self._open
        # The engine answers 304 for one that runs already, which is no error.
        await engine.call(
            engine.docker.containers.container(_name(kernel, generation)).start(),
            "START_FAILED",
            "Starting the container",
            deadline=120,
        )

    async def wait(self, kernel: str, generation: int) -> Exit:
        engine = self._open
        container = await self._get(kernel, generation)
        while container["State"]["Running"] or container["State"].get("Restarting"):
            # The engine may be restarted while we wait: then ask again what has become of it.
            try:
                await engine.call(
                    engine.docker.containers.container(container["Id"]).wait(),
                    "ENGINE_UNREACHABLE",
                    "Waiting for the container",
                    deadline=3600,
                )
            except RuntimeFailure as failure:
                if failure.code != "ENGINE_UNREACHABLE":
                    raise
                await asyncio.sleep(1)
            container = await self._get(kernel, generation)
        state = container["State"]
        code = state.get("ExitCode")
        # The flag counts, not the code: an out-of-memory kill inside can come with exit code 0.
        if state.get("OOMKilled"):
            return Exit(
                code,
                "OOM_KILLED",
                "It needed more memory than it was given and was killed. Ask for more memory.",
            )
        if code is not None and code > 128:
            return Exit(code, "KILLED", f"Its main process was ended by signal {code - 128}.")
        return Exit(code, "EXITED", f"Its main process ended with exit code {code}.")

    async def stop(self, kernel: str, generation: int, grace_seconds: float) -> None:
        engine = self._open
        container = await self._find(kernel, generation)
        if container is None:
            return
        identity = container["Id"]
        running = container["State"]["Running"]
        handle = engine.docker.containers.container(identity)
        if running and grace_seconds > 0:
            await engine.call(
                _absent_is_done(handle.stop(t=max(1, round(grace_seconds)))),
                "STOP_FAILED",
                "Stopping the container",
                deadline=grace_seconds + CALL_SECONDS,
            )
        elif running:
            await engine.call(_absent_is_done(handle.kill()), "STOP_FAILED", "Killing the container")
        await self._empty(identity)

    async def remove(self, kernel: str, generation: int) -> None:
        container = await self._find(kernel, generation)
        if container is not None:
            await self._destroy(kernel, container["Id"])
        self._forget(kernel)
        await self._remove_volume(_volume(kernel, generation))
        if container is not None:
            await self._remove_network(container["Config"]["Labels"].get("berth.session", ""))

    async def recover(self) -> Sequence[KernelReport]:
        engine = self._open
        listed: list[Any] = await engine.call(
            engine.docker.containers.list(all=True, filters=json.dumps({"label": ["berth.kernel"]})),
            "ENGINE_UNREACHABLE",
            "Listing containers",
        )
        reports: list[KernelReport] = []
        for one in listed:
            labels, state = one["Labels"], one["State"]
            if labels.get("berth.cluster", "") != self._cluster or not self._is_ours(one["Id"], labels):
                continue
            phase: Phase = {"running": "RUNNING", "created": "CREATING"}.get(state, "TERMINATED")  # pyright: ignore
            reports.append(
                KernelReport(
                    kernel=labels["berth.kernel"],
                    generation=int(labels["berth.generation"]),
                    session=labels.get("berth.session", ""),
                    phase=phase,
                    container=one["Id"],
                    slots=msgspec.json.decode(labels.get("berth.slots", "{}"), type=dict[str, int]),
                )
            )
        return reports

    # Looking in

    async def stats(self, kernels: Sequence[str]) -> Sequence[KernelStats]:
        samples: list[KernelStats] = []
        for kernel in kernels:
            pid = await self._pid(kernel)
            if pid:
                samples.append(await asyncio.to_thread(self._sample, kernel, pid))
        for gone in self._pids.keys() - set(kernels):
            del self._pids[gone]
            self._cpu.pop(gone, None)
            self._homes.pop(gone, None)
        return samples

    async def open_terminal(self, kernel: str, terminal: str, columns: int, rows: int) -> Terminal:
        container = await self._running(kernel)
        return await DockerTerminal.open(self._open, container["Id"], terminal, columns, rows)

    async def connect(self, kernel: str, port: int, service: str = "") -> Duplex:
        container = await self._running(kernel)
        app = (await self._apps(container["Id"])).get(service) if service else None
        if app is not None and app.protocol == "stdio":
            return await self._run_app(container["Id"], app)
        address = _address(container)
        if app is not None:
            async with self._starting.setdefault((kernel, service), asyncio.Lock()):
                if not await _answers(address, port):
                    await self._start_app(container["Id"], app, address, port)
        try:
            async with asyncio.timeout(10):
                reader, writer = await asyncio.open_connection(address, port)
        except (OSError, TimeoutError) as error:
            raise RuntimeFailure(
                "CONNECT_FAILED", f"Nothing answers on port {port} of the session."
            ) from error
        return Pipe(reader, writer)

    async def logs(self, kernel: str, tail: int, follow: bool) -> AsyncIterator[bytes]:
        container = await self._newest(kernel)
        if container is None:
            return
        kept, seen = bytearray(), 0
        # First what there is, of which only the end may be wanted; then, where wanted, all that comes after it.
        async for frame in self._open.frames(container["Id"], follow=False):
            seen += len(frame)
            kept += frame
            if tail and len(kept) > 2 * tail:
                del kept[:-tail]
        yield bytes(kept[-tail:] if tail else kept)
        if not follow:
            return
        position = 0
        async for frame in self._open.frames(container["Id"], follow=True):
            position += len(frame)
            if position > seen:
                yield frame[-(position - seen) :] if position - len(frame) < seen else frame

    # Beneath

    def _config(self, kernel: str, generation: int, spec: KernelSpec, network: str) -> dict[str, Any]:
        memory = spec.slots.get("mem", 0)
        labels = {
            "berth.kernel": kernel,
            "berth.generation": str(generation),
            "berth.session": spec.session,
            "berth.cluster": self._cluster,
            "berth.state": str(self._records),
            "berth.slots": json.dumps(spec.slots),
        }
        binds = [
            f"{mount.source}:{mount.target}:{'ro' if mount.read_only else 'rw'}" for mount in spec.mounts
        ]
        return {
            "Image": spec.image,
            "Hostname": spec.hostname,
            "User": "1000:1000",
            "WorkingDir": "/home/work",
            "Entrypoint": [],
            "Cmd": _main_process(spec),
            "Env": [
                f"{name}={value}"
                for name, value in {**spec.environ, "HOME": "/home/work", "USER": "work"}.items()
            ],
            "Labels": labels,
            "StopSignal": "SIGTERM",
            "HostConfig": {
                "Init": True,
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                "Memory": memory,
                "MemorySwap": memory,
                "NanoCpus": spec.slots.get("cpu", 0) * 1_000_000,
                "PidsLimit": _PROCESSES,
                "ShmSize": spec.shared_memory,
                "NetworkMode": network,
                "Mounts": [{"Type": "volume", "Source": _volume(kernel, generation), "Target": "/home/work"}],
                "Binds": binds,
                "Ulimits": [
                    {"Name": "nofile", "Soft": _FILES, "Hard": _FILES},
                    {"Name": "core", "Soft": 0, "Hard": 0},
                ],
                "LogConfig": _LOG,
                "RestartPolicy": {"Name": "no"},
            },
        }

    async def _network(self, session: str) -> str:
        """A bridge for this session alone: its kernels reach each other, nobody else's reach them."""
        engine, name = self._open, f"berth-{session}"
        config = {
            "Name": name,
            "Driver": "bridge",
            "CheckDuplicate": True,
            "Labels": {"berth.session": session, "berth.cluster": self._cluster},
        }
        try:
            await engine.call(
                engine.docker.networks.create(config), "CREATE_FAILED", "Making the session's network"
            )
        except RuntimeFailure as failure:
            if "already exists" not in failure.message:
                raise
        return name

    async def _remove_network(self, session: str) -> None:
        """Remove a session's network, unless another kernel of it is still there."""
        engine = self._open
        if not session:
            return
        network: Any = engine.docker.networks
        try:
            found = await engine.call(network.get(f"berth-{session}"), "REMOVE_FAILED", "Removing a network")
            await engine.call(found.delete(), "REMOVE_FAILED", "Removing a network")
        except RuntimeFailure as failure:
            if failure.code == "ENGINE_UNREACHABLE":
                raise

    async def _remove_volume(self, name: str) -> None:
        engine = self._open
        volume: Any = engine.docker.volumes
        try:
            found = await engine.call(volume.get(name), "REMOVE_FAILED", "Removing a home")
            await engine.call(found.delete(), "REMOVE_FAILED", "Removing a home")
        except RuntimeFailure as failure:
            if failure.code == "ENGINE_UNREACHABLE":
                raise

    async def _end_all(self, kernel: str) -> None:
        """Leave nothing of any earlier attempt at this kernel, in the engine or behind its back."""
        known = set(self._recorded(kernel))
        for container in await self._list(kernel):
            known.add(container["Id"])
            await self._destroy(kernel, container["Id"])
            await self._remove_volume(_volume(kernel, int(container["Labels"]["berth.generation"])))
        for identity in known:
            await self._empty(identity)
        self._forget(kernel)

    async def _destroy(self, kernel: str, identity: str) -> None:
        engine = self._open
        handle = engine.docker.containers.container(identity)
        await engine.call(
            _absent_is_done(handle.delete(force=True)), "REMOVE_FAILED", "Removing the container", deadline=60
        )
        await self._empty(identity)

    async def _empty(self, identity: str) -> None:
        """End what a container's control group still holds."""
        group = Cgroup.named((f"docker/{identity}", f"system.slice/docker-{identity}.scope"))
        if group.exists and not await group.kill():
            raise RuntimeFailure(
                "STOP_FAILED", "Processes of the container do not end. The node may need to be restarted."
            )

    async def _list(self, kernel: str) -> list[Any]:
        engine = self._open
        filters = json.dumps({"label": [f"berth.kernel={kernel}"]})
        return await engine.call(
            engine.docker.containers.list(all=True, filters=filters),
            "ENGINE_UNREACHABLE",
            "Listing containers",
        )

    async def _find(self, kernel: str, generation: int) -> dict[str, Any] | None:
        engine = self._open
        handle = engine.docker.containers.container(_name(kernel, generation))

        async def show() -> dict[str, Any] | None:
            try:
                return await handle.show()
            except DockerError as error:
                if is_missing(error):
                    return None
                raise

        return await engine.call(show(), "ENGINE_UNREACHABLE", "Inspecting the container")

    async def _get(self, kernel: str, generation: int) -> dict[str, Any]:
        found = await self._find(kernel, generation)
        if found is None:
            raise RuntimeFailure("NOT_RUNNING", "The container is gone: somebody removed it from the node.")
        return found

    async def _newest(self, kernel: str) -> dict[str, Any] | None:
        listed = await self._list(kernel)
        return max(listed, key=lambda one: int(one["Labels"]["berth.generation"]), default=None)

    async def _running(self, kernel: str) -> dict[str, Any]:
        newest = await self._newest(kernel)
        if newest is None or newest["State"] != "running":
            raise RuntimeFailure("NOT_RUNNING", "The session is not running.")
        return await self._get(kernel, int(newest["Labels"]["berth.generation"]))

    async def _pid(self, kernel: str) -> int:
        """The container's init, as the node sees it; remembered while it lives."""
        pid = self._pids.get(kernel, 0)
        if pid and psutil.pid_exists(pid):
            return pid
        try:
            pid = int((await self._running(kernel))["State"]["Pid"])
        except RuntimeFailure:
            return 0
        self._pids[kernel] = pid
        return pid

    def _sample(self, kernel: str, pid: int) -> KernelStats:
        usage, now = Cgroup.of_pid(pid).usage(), time.monotonic()
        before = self._cpu.get(kernel)
        self._cpu[kernel] = now, usage.cpu_milliseconds
        percent = 0.0
        if before is not None and now > before[0]:
            percent = max(0.0, (usage.cpu_milliseconds - before[1]) / (now - before[0]) / 10)
        received, sent = cgroups.network(pid)
        return KernelStats(
            kernel=kernel,
            cpu_percent=round(percent, 1),
            cpu_milliseconds=usage.cpu_milliseconds,
            memory_bytes=usage.memory_bytes,
            memory_limit_bytes=usage.memory_limit_bytes,
            block_read_bytes=usage.block_read_bytes,
            block_write_bytes=usage.block_write_bytes,
            network_received_bytes=received,
            network_sent_bytes=sent,
            home_bytes=self._home(kernel, pid),
            processes=usage.processes,
        )

    def _home(self, kernel: str, pid: int) -> int:
        """Size of the home, measured now and then: walking it costs."""
        at, size = self._homes.get(kernel, (float("-inf"), 0))
        if time.monotonic() - at > _HOME_EVERY:
            size = disk.usage(Path(f"/proc/{pid}/root/home/work"))
            self._homes[kernel] = time.monotonic(), size
        return size

    async def _architecture(self, identity: str) -> str:
        if identity not in self._architectures:
            engine = self._open
            found = await engine.call(
                engine.docker.images.inspect(identity), "ENGINE_UNREACHABLE", "Inspecting an image"
            )
            named = str(found.get("Architecture") or "")
            self._architectures[identity] = _ARCHITECTURES.get(named, named)
        return self._architectures[identity]

    async def _apps(self, identity: str) -> dict[str, apps.App]:
        container = self._open.docker.containers.container(identity)
        code, document = await run(self._open, container, ["cat", apps.PATH])
        return apps.read(document) if code == 0 else {}

    async def _start_app(self, identity: str, app: apps.App, address: str, port: int) -> None:
        engine = self._open
        container = engine.docker.containers.container(identity)
        for step in app.prestart:
            code, _ = await run(engine, container, app.filled(step), environ=app.environ)
            if code:
                raise RuntimeFailure(
                    "START_FAILED", f"Preparing the app failed: {step[0]} ended with exit code {code}."
                )
        execution = await engine.call(
            container.exec(
                app.filled(app.command), user="1000:1000", workdir="/home/work", environment=app.environ
            ),
            "START_FAILED",
            "Starting the app",
        )
        await engine.call(execution.start(detach=True), "START_FAILED", "Starting the app")
        until = time.monotonic() + app.start_timeout
        while not await _answers(address, port):
            if time.monotonic() > until:
                raise RuntimeFailure(
                    "START_FAILED", f"The app did not answer within {app.start_timeout:g} seconds."
                )
            await asyncio.sleep(0.1)

    async def _run_app(self, identity: str, app: apps.App) -> Duplex:
        engine = self._open
        container = engine.docker.containers.container(identity)
        execution = await engine.call(
            container.exec(
                app.filled(app.command),
                stdin=True,
                user="1000:1000",
                workdir="/home/work",
                environment=app.environ,
            ),
            "START_FAILED",
            "Starting the app",
        )
        stream = execution.start(detach=False)
        await engine.call(stream._init(), "START_FAILED", "Starting the app")  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001  # else the first read does
        return ExecPipe(stream)

    # Records: which containers a kernel ever had here

    def _record(self, kernel: str, identity: str) -> None:
        with (self._records / kernel).open("a") as file:
            file.write(f"{identity}\n")
            file.flush()
            os.fsync(file.fileno())

    def _recorded(self, kernel: str) -> list[str]:
        path = self._records / kernel
        return path.read_text().split() if path.exists() else []

    def _forget(self, kernel: str) -> None:
        (self._records / kernel).unlink(missing_ok=True)

    def _is_ours(self, _identity: str, labels: dict[str, str]) -> bool:
        """Several agents may share an engine (as on a developer's machine): each sees what it made itself."""
        return labels.get("berth.state", "") == str(self._records)


def _main_process(spec: KernelSpec) -> list[str]:
    """Stays until it is told to end, or runs the command; the bootstrap script runs beside it."""
    last = 'exec sh -c "$1"' if spec.command is not None else "exec sleep infinity"
    script = f'[ -z "$0" ] || sh -c "$0" & {last}'
    return ["/bin/sh", "-c", script, spec.bootstrap or "", spec.command or ""]


def _name(kernel: str, generation: int) -> str:
    return f"{kernel}-{generation}"


def _volume(kernel: str, generation: int) -> str:
    return f"berth-{kernel}-{generation}"


def _address(container: dict[str, Any]) -> str:
    networks: dict[str, Any] = container["NetworkSettings"]["Networks"]
    for network in networks.values():
        if network.get("IPAddress"):
            return str(network["IPAddress"])
    raise RuntimeFailure("NOT_RUNNING", "The session has no address on its node yet.")


async def _answers(address: str, port: int) -> bool:
    try:
        async with asyncio.timeout(2):
            _, writer = await asyncio.open_connection(address, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def _absent_is_done(work: Any) -> None:
    """What is not there, or not running any more, need not be ended."""
    try:
        await work
    except DockerError as error:
        if error.status not in (304, 404, 409):
            raise


def _cpu_model() -> str:
    for line in (
        Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        if Path("/proc/cpuinfo").exists()
        else ()
    ):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or f"{psutil.cpu_count()} cores"
