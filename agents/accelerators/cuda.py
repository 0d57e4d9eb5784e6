"""NVIDIA GPUs: whole, or shares of them.

    mode         slot          what keeps a session within its share
    device       cuda.device   nobody else has the GPU
    shares       cuda.shares   CUDA MPS: a part of the threads, a limit of memory, for each process (docs/accelerators.md)
    time-sliced  cuda.shares   nothing: sessions take turns, and all of them see all of the memory

Options: `mode` (`device`), `whole` (indexes or UUIDs, joined by `+`, of GPUs that are given whole whatever the mode),
`skip` (those that are not given at all), `exclusive` (`yes`: under MPS a GPU is set to exclusive-process mode, so that
nothing goes around MPS; needs to be root), `mps` (the control daemon's program).
"""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from agents.accelerators import options as read
from agents.accelerators.contract import (
    WHOLE,
    AcceleratorFailure,
    Allocation,
    BadOption,
    Holder,
    Sample,
    state_directory,
)
from agents.accelerators.mps import PROGRAM, MpsDaemon
from agents.accelerators.nvml import Gpu, Nvml, NvmlFailure, Process
from agents.protocol import Device, DeviceRequest, DeviceStats, DeviceUse, Grant, Mount, SlotKind

log = logging.getLogger(__name__)

DEVICE: Final = SlotKind("cuda.device", "unique", "GPU", "GPU", "Whole NVIDIA GPUs.", step=WHOLE)
SHARES: Final = SlotKind("cuda.shares", "count", "GPU", "GPU shares", "Fractions of an NVIDIA GPU.", step=10)

_OPTIONS: Final = ("mode", "whole", "skip", "exclusive", "mps")
#: What the engine's NVIDIA driver understands (nvidia-container-toolkit): computing, and nvidia-smi.
_CAPABILITIES: Final = ("gpu", "nvidia", "compute", "utility")
#: Device files that every program on a GPU needs, beside the GPU's own.
_COMMON_NODES: Final = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")
#: Where a session finds the MPS daemon.
_PIPE: Final = "/run/berth-mps"
#: The oldest GPUs on which MPS keeps clients apart and within limits: Volta.
_OLDEST_FOR_MPS: Final = (7, 0)
_MIB: Final = 2**20


class CudaAccelerator:
    """See the module."""

    name = "cuda"
    automatic = True

    def __init__(
        self,
        state_dir: Path,
        options: Mapping[str, str],
        *,
        nvml: Nvml | None = None,
        root: bool | None = None,
    ) -> None:
        read.known(options, _OPTIONS)
        self._mode = read.one_of(options, "mode", ("device", "shares", "time-sliced"))
        self._whole = frozenset(filter(None, options.get("whole", "").split("+")))
        self._skip = frozenset(filter(None, options.get("skip", "").split("+")))
        self._exclusive = read.switch(options, "exclusive", default=True)
        if self._mode != "shares" and options.keys() & {"exclusive", "mps"}:
            raise BadOption("exclusive and mps mean something only with mode=shares")
        self._program = options.get("mps", PROGRAM)
        self._state_dir = state_dir
        self._is_root = os.geteuid() == 0 if root is None else root
        self._nvml = nvml or Nvml()
        self._gpus: dict[str, Gpu] = {}
        self._daemon: MpsDaemon | None = None
        self.kinds: Sequence[SlotKind] = (
            (DEVICE,) if self._mode == "device" else (SHARES, DEVICE) if self._whole else (SHARES,)
        )

    def detect(self) -> Sequence[Device]:
        if not self._nvml.driver_is_loaded:
            return []
        try:
            found = [gpu for gpu in self._nvml.gpus() if not _named(gpu, self._skip)]
        except NvmlFailure as failure:
            raise AcceleratorFailure(str(failure)) from failure
        self._gpus = {gpu.uuid: gpu for gpu in found}
        shared = [
            gpu for gpu in found if self._mode == "shares" and not self._is_whole(gpu) and not gpu.fault
        ]
        self._give_back([gpu for gpu in found if gpu not in shared])
        faults = self._shared(shared) if shared else {}
        return [self._device(gpu, gpu.fault or faults.get(gpu.uuid, "")) for gpu in found]

    def grant(self, kernel: str, devices: Allocation) -> Grant:
        held = {uuid: amount for amounts in devices.values() for uuid, amount in amounts.items()}
        visible = ",".join(held)
        if not held:
            # An image may ask for all GPUs by this variable, where the engine's NVIDIA runtime is the default one.
            return Grant(environ={"NVIDIA_VISIBLE_DEVICES": "void"}) if self._gpus else Grant()
        unknown = [uuid for uuid in held if uuid not in self._gpus]
        if unknown:
            raise AcceleratorFailure(f"The GPU {unknown[0]} is not there any more.")
        grant = Grant(
            environ={"CUDA_VISIBLE_DEVICES": visible, "NVIDIA_VISIBLE_DEVICES": visible},
            requests=(DeviceRequest("nvidia", tuple(held), _CAPABILITIES, self._nodes(held)),),
        )
        shares = devices.get(SHARES.name, {})
        return self._limited(grant, shares) if shares and self._mode == "shares" else grant

    def sample(self, holders: Sequence[Holder]) -> Sample:
        pids = _Owners(holders)
        devices: list[DeviceStats] = []
        kernels: dict[str, list[DeviceUse]] = {}
        for uuid in self._gpus:
            try:
                load, processes = self._nvml.sample(uuid), self._nvml.processes(uuid)
            except NvmlFailure:
                continue  # `detect` says what is wrong with it
            owned = {pid: pids.of(pid) for pid in processes}
            devices.append(
                DeviceStats(
                    uuid,
                    load.utilisation,
                    load.memory_used,
                    load.memory_total,
                    load.temperature,
                    load.power,
                )
            )
            for holder in holders:
                mine = [processes[pid] for pid, owner in owned.items() if owner == holder.kernel]
                # Processes that are nobody's may be its own: then it is not known how busy it is, and never "idle".
                doubtful = not mine and "" in owned.values()
                for slot, amounts in holder.devices.items():
                    if uuid in amounts:
                        whole = load.utilisation if slot == DEVICE.name else None
                        use = self._use(uuid, slot, amounts[uuid], mine, whole, doubtful=doubtful)
                        kernels.setdefault(holder.kernel, []).append(use)
        return Sample(tuple(devices), {kernel: tuple(uses) for kernel, uses in kernels.items()})

    def close(self, in_use: bool) -> None:
        if self._daemon is not None and not in_use:
            self._daemon.quit()
            self._give_back(self._gpus.values())
        self._nvml.close()

    # Beneath

    def _is_whole(self, gpu: Gpu) -> bool:
        return self._mode == "device" or _named(gpu, self._whole)

    def _device(self, gpu: Gpu, fault: str) -> Device:
        slot = DEVICE if self._is_whole(gpu) else SHARES
        return Device(
            id=gpu.uuid,
            plugin=self.name,
            model=gpu.name,
            memory=gpu.memory,
            numa_node=gpu.numa_node,
            healthy=not fault,
            reason=fault,
            capacity={slot.name: WHOLE},
        )

    def _shared(self, gpus: Sequence[Gpu]) -> dict[str, str]:
        """Make GPUs ready to be shared by MPS. Returns UUID → why it cannot be."""
        faults = {
            gpu.uuid: "Shares need a GPU of compute capability 7.0 or later: use mode=time-sliced, or give it whole."
            for gpu in gpus
            if gpu.capability < _OLDEST_FOR_MPS
        }
        able = [gpu.uuid for gpu in gpus if gpu.uuid not in faults]
        if not able:
            return faults
        if self._daemon is None:
            directory = state_directory(state_directory(self._state_dir, self.name), "mps")
            self._daemon = MpsDaemon(directory, self._program, apart=self._is_root)
        try:
            for uuid in able if self._exclusive else ():
                self._take(uuid)
            managed = self._daemon.ensure(able)
            waits = "The MPS daemon was begun without it: it is shared once no session uses the daemon."
            faults |= {uuid: waits for uuid in able if uuid not in managed}
        except (NvmlFailure, AcceleratorFailure) as failure:
            faults |= dict.fromkeys(able, str(failure))
        return faults

    # A GPU that this node has set to exclusive-process mode is noted in a file, so that one which is not shared any more
    # is set back, also by an agent that was not there when it was done.

    def _take(self, uuid: str) -> None:
        if not self._nvml.compute_mode_is_exclusive(uuid):
            self._note_taken({*self._taken(), uuid})
            self._nvml.set_exclusive(uuid, exclusive=True)

    def _give_back(self, gpus: Iterable[Gpu]) -> None:
        taken = self._taken()
        for gpu in gpus if taken else ():
            if gpu.uuid in taken and not gpu.fault:
                try:
                    self._nvml.set_exclusive(gpu.uuid, exclusive=False)
                except NvmlFailure as failure:
                    log.warning("%s stays in exclusive-process mode: %s", gpu.uuid, failure)
                else:
                    taken.discard(gpu.uuid)
                    self._note_taken(taken)

    def _taken(self) -> set[str]:
        try:
            return set((self._state_dir / self.name / "exclusive").read_text().split())
        except OSError:
            return set()

    def _note_taken(self, uuids: Iterable[str]) -> None:
        path = state_directory(self._state_dir, self.name) / "exclusive"
        draft = path.with_suffix(".new")
        draft.write_text("".join(f"{uuid}\n" for uuid in sorted(uuids)))
        draft.rename(path)

    def _limited(self, grant: Grant, shares: Mapping[str, int]) -> Grant:
        """The limits that the CUDA driver keeps for each process of the session, and the way to the MPS daemon."""
        if self._daemon is None:
            raise AcceleratorFailure("The MPS daemon does not run.")
        percentage = max(1, min(shares.values()) * 100 // WHOLE)
        # Devices are numbered in the order of CUDA_VISIBLE_DEVICES.
        limits = ",".join(
            f"{position}={self._memory_of(uuid, amount) // _MIB}M"
            for position, (uuid, amount) in enumerate(shares.items())
        )
        mounts = (
            Mount(str(self._daemon.pipe), _PIPE),
            Mount(str(self._daemon.shared_memory), "/dev/shm"),  # noqa: S108 - inside the session
        )
        environ = {
            **grant.environ,
            "CUDA_MPS_PIPE_DIRECTORY": _PIPE,
            "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": str(percentage),
            "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": limits,
        }
        return Grant(environ, mounts, grant.requests, grant.nodes)

    def _memory_of(self, uuid: str, amount: int) -> int:
        return self._gpus[uuid].memory * amount // WHOLE

    def _nodes(self, uuids: Iterable[str]) -> tuple[str, ...]:
        minors = [self._gpus[uuid].minor for uuid in uuids]
        return (*_COMMON_NODES, *(f"/dev/nvidia{minor}" for minor in minors if minor is not None))

    def _use(
        self,
        uuid: str,
        slot: str,
        amount: int,
        processes: Sequence[Process],
        whole: float | None,
        *,
        doubtful: bool,
    ) -> DeviceUse:
        told = [process.utilisation for process in processes]
        utilisation = whole
        if utilisation is None and None not in told and not doubtful:
            utilisation = sum(filter(None, told)) * WHOLE / amount
        limit = self._memory_of(uuid, amount) if uuid in self._gpus and self._mode != "time-sliced" else 0
        return DeviceUse(
            device=uuid,
            slot=slot,
            amount=amount,
            utilisation=None if utilisation is None else round(min(utilisation, 100.0), 1),
            memory_used=sum(process.memory for process in processes),
            memory_limit=limit,
        )


class _Owners:
    """Which kernel a process belongs to, by the control group that it is in."""

    def __init__(self, holders: Sequence[Holder], proc: Path = Path("/proc")) -> None:
        self._containers = {holder.container: holder.kernel for holder in holders if holder.container}
        self._proc = proc
        self._known: dict[int, str] = {}

    def of(self, pid: int) -> str:
        if pid not in self._known:
            self._known[pid] = self._find(pid)
        return self._known[pid]

    def _find(self, pid: int) -> str:
        try:
            groups = (self._proc / str(pid) / "cgroup").read_text()
        except OSError:
            return ""
        return next((kernel for container, kernel in self._containers.items() if container in groups), "")


def _named(gpu: Gpu, names: Iterable[str]) -> bool:
    return any(name in (str(gpu.index), gpu.uuid) for name in names)
