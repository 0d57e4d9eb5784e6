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
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil
from aiodocker.exceptions import DockerError

from agents.protocol import Hardware, ImageInfo, KernelReport, KernelSpec, KernelStats, Phase
from agents.runtimes import cgroups, disk, docker_cluster, docker_swarm, machine
from agents.runtimes.cgroups import Cgroup
from agents.runtimes.contract import Duplex, Exit, Fingerprint, PullProgressSink, RuntimeFailure, Terminal
from agents.runtimes.docker_apps import Apps
from agents.runtimes.docker_containers import config, container_name, environ, volume_name
from agents.runtimes.docker_images import Images
from agents.runtimes.docker_networks import DEFAULT_RANGE, Networks
from agents.runtimes.docker_streams import DockerTerminal
from agents.runtimes.engine import CALL_SECONDS, Engine, absent_is_done, candidates, is_missing

_HOME_EVERY: Final = 30.0


@dataclass
class _Opened:
    engine: Engine
    images: Images
    networks: Networks
    apps: Apps


class DockerRuntime:
    """See the module.

    Options: `reserve_memory` (bytes kept for the node itself), `cluster` (its name in labels), `networks` (the range from
    which sessions get their subnets, such as 10.213.0.0/16).
    """

    name = "docker"

    def __init__(self, state_dir: Path, options: dict[str, Any]) -> None:
        self._records = state_dir / "containers"
        self._reserve = int(options.get("reserve_memory", 256 * 2**20))
        self._cluster = str(options.get("cluster", ""))
        # Several agents may share an engine (as on a developer's machine): each sees what it made itself.
        self._labels = {"berth.cluster": self._cluster, "berth.state": str(self._records)}
        self._range = str(options.get("networks", DEFAULT_RANGE))
        self._now: _Opened | None = None
        self._cpu: dict[str, tuple[float, int]] = {}
        self._pids: dict[str, int] = {}
        self._homes: dict[str, tuple[float, int]] = {}

    @property
    def _opened(self) -> _Opened:
        if self._now is None:
            raise RuntimeFailure("ENGINE_UNREACHABLE", "The runtime was not opened.")
        return self._now

    @property
    def _engine(self) -> Engine:
        return self._opened.engine

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
            networks = Networks(engine, self._labels, self._range)
            self._now = _Opened(engine, Images(engine), networks, Apps(engine))
            return
        raise RuntimeFailure(
            "ENGINE_UNREACHABLE",
            f"No container engine answers ({', '.join(tried) or 'no socket found'}). Start Docker or Podman, "
            "or set DOCKER_HOST, or use the process runtime.",
        )

    async def close(self) -> None:
        if self._now is not None:
            await self._now.networks.close()
            await self._now.engine.close()
            self._now = None

    async def fingerprint(self) -> Fingerprint:
        engine = self._engine
        info: Any = await engine.call(engine.docker.system.info(), "ENGINE_UNREACHABLE", "Asking the engine")
        cpus, memory = int(info["NCPU"]), int(info["MemTotal"])
        return Fingerprint(
            architecture=platform.machine(),
            slots={"cpu": cpus * 1000, "mem": max(0, memory - self._reserve)},
            hardware=Hardware(
                hostname=platform.node(),
                os=str(info.get("OperatingSystem", "")),
                kernel=platform.release(),
                cpu_model=machine.cpu_model(),
                cpu_count=cpus,
                memory=memory,
                disk=shutil.disk_usage(self._records).total,
                engine=f"Docker {info.get('ServerVersion', '')}",
            ),
            swarm=docker_swarm.of_info(info),
        )

    # Images

    async def images(self) -> Sequence[ImageInfo]:
        return await self._opened.images.all()

    async def pull(
        self, image: str, progress: PullProgressSink, username: str = "", password: str = ""
    ) -> None:
        await self._opened.images.pull(image, progress, username, password)

    async def remove_image(self, image: str) -> None:
        await self._opened.images.remove(image)

    # A kernel's life

    async def create(self, kernel: str, generation: int, spec: KernelSpec) -> str:
        engine = self._engine
        await self._end_all(kernel)
        network = await self._opened.networks.join(spec.session, kernel)
        what = f"Creating the container from {spec.image}"
        container = await engine.call(
            engine.docker.containers.create(
                config(kernel, generation, spec, network, self._labels),
                name=container_name(kernel, generation),
            ),
            "CREATE_FAILED",
            what,
            deadline=120,
        )
        self._record(kernel, container.id)
        if spec.cluster is not None:
            await self._equip(container, spec, network)
        return container.id

    async def start(self, kernel: str, generation: int) -> None:
        engine = self._engine
        # The engine answers 304 for one that runs already, which is no error.
        await engine.call(
            engine.docker.containers.container(container_name(kernel, generation)).start(),
            "START_FAILED",
            "Starting the container",
            deadline=120,
        )

    async def wait(self, kernel: str, generation: int) -> Exit:
        engine = self._engine
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
        engine = self._engine
        recorded = self._recorded(kernel)
        container = await self._find(kernel, generation)
        if container is None:
            await self._end_forgotten(recorded, await self._list(kernel))
            return
        identity = container["Id"]
        running = container["State"]["Running"]
        handle = engine.docker.containers.container(identity)
        if running and grace_seconds > 0:
            await engine.call(
                absent_is_done(handle.stop(t=max(1, round(grace_seconds)))),
                "STOP_FAILED",
                "Stopping the container",
                deadline=grace_seconds + CALL_SECONDS,
            )
        elif running:
            await engine.call(absent_is_done(handle.kill()), "STOP_FAILED", "Killing the container")
        await self._empty(identity)

    async def remove(self, kernel: str, generation: int) -> None:
        container = await self._find(kernel, generation)
        if container is not None:
            await self._destroy(kernel, container["Id"])
        self._forget(kernel)
        await self._remove_volume(volume_name(kernel, generation))
        if container is not None:
            await self._opened.networks.leave(container["Config"]["Labels"].get("berth.session", ""), kernel)

    async def recover(self) -> Sequence[KernelReport]:
        engine = self._engine
        # Before the list: a container that is made meanwhile is in none or in both.
        recorded = [name for path in self._records.iterdir() for name in self._recorded(path.name)]
        marks = ["berth.kernel", *(f"{mark}={value}" for mark, value in self._labels.items())]
        listed: list[Any] = await engine.call(
            engine.docker.containers.list(all=True, filters=json.dumps({"label": marks})),
            "ENGINE_UNREACHABLE",
            "Listing containers",
        )
        await self._end_forgotten(recorded, listed)
        reports: list[KernelReport] = []
        joined: list[tuple[str, str, str]] = []
        for one in listed:
            labels, state = one["Labels"], one["State"]
            phase: Phase = {"running": "RUNNING", "created": "CREATING"}.get(state, "TERMINATED")  # pyright: ignore
            reports.append(
                KernelReport(
                    kernel=labels["berth.kernel"],
                    generation=int(labels["berth.generation"]),
                    session=labels.get("berth.session", ""),
                    phase=phase,
                    container=one["Id"],
                    slots=msgspec.json.decode(labels.get("berth.slots", "{}"), type=dict[str, int]),
                    devices=msgspec.json.decode(
                        labels.get("berth.devices", "{}"), type=dict[str, dict[str, int]]
                    ),
                )
            )
            joined.append((reports[-1].session, reports[-1].kernel, labels.get("berth.network", "")))
        await self._opened.networks.recover(joined)
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
        return await DockerTerminal.open(self._engine, container["Id"], terminal, columns, rows)

    async def connect(self, kernel: str, port: int, service: str = "") -> Duplex:
        return await self._opened.apps.connect(await self._running(kernel), port, service)

    async def logs(self, kernel: str, tail: int, follow: bool) -> AsyncIterator[bytes]:
        container = await self._newest(kernel)
        if container is None:
            return
        kept, seen = bytearray(), 0
        # First what there is, of which only the end may be wanted; then, where wanted, all that comes after it.
        async for frame in self._engine.frames(container["Id"], follow=False):
            seen += len(frame)
            kept += frame
            if tail and len(kept) > 2 * tail:
                del kept[:-tail]
        yield bytes(kept[-tail:] if tail else kept)
        if not follow:
            return
        position = 0
        async for frame in self._engine.frames(container["Id"], follow=True):
            position += len(frame)
            if position > seen:
                yield frame[-(position - seen) :] if position - len(frame) < seen else frame

    # Networks between nodes

    async def make_network(self, name: str) -> None:
        await docker_swarm.make(self._engine, name)

    async def remove_network(self, name: str) -> None:
        await docker_swarm.remove(self._engine, name)

    # Beneath

    async def _equip(self, container: Any, spec: KernelSpec, bridge: str) -> None:
        """Give one of several kernels of a session what it needs to reach the others."""
        engine, what = self._engine, "Preparing the container"
        image: Any = await engine.call(engine.docker.images.inspect(spec.image), "CREATE_FAILED", what)
        inherited = dict(one.split("=", 1) for one in image["Config"].get("Env") or () if "=" in one)
        files = docker_cluster.archive(spec, {**inherited, **environ(spec)})
        await engine.call(container.put_archive("/", files), "CREATE_FAILED", what)
        if spec.cluster is not None and spec.cluster.network:
            networks: Any = engine.docker.networks
            network = await engine.call(networks.get(bridge), "CREATE_FAILED", what)
            await engine.call(network.connect({"Container": container.id}), "CREATE_FAILED", what)

    async def _remove_volume(self, name: str) -> None:
        engine = self._engine
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
            await self._remove_volume(volume_name(kernel, int(container["Labels"]["berth.generation"])))
        for identity in known:
            await self._empty(identity)
        self._forget(kernel)

    async def _end_forgotten(self, recorded: Sequence[str], listed: Sequence[Any]) -> None:
        """End what lives on of containers that the engine no longer has: of one, a removal that was cut short. Their
        processors and devices are given to others from now on."""
        for identity in set(recorded) - {one["Id"] for one in listed}:
            await self._empty(identity)

    async def _destroy(self, kernel: str, identity: str) -> None:
        engine = self._engine
        handle = engine.docker.containers.container(identity)
        await engine.call(
            absent_is_done(handle.delete(force=True)), "REMOVE_FAILED", "Removing the container", deadline=60
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
        engine = self._engine
        filters = json.dumps({"label": [f"berth.kernel={kernel}"]})
        return await engine.call(
            engine.docker.containers.list(all=True, filters=filters),
            "ENGINE_UNREACHABLE",
            "Listing containers",
        )

    async def _find(self, kernel: str, generation: int) -> dict[str, Any] | None:
        engine = self._engine
        handle = engine.docker.containers.container(container_name(kernel, generation))

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
