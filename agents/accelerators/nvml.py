"""NVIDIA's GPUs as NVML tells of them (the NVIDIA Management Library, by the package nvidia-ml-py).

A machine without a driver is told from its files, so that nothing is loaded there. What one GPU does not support or does
not answer is missing for that GPU and harms no other: each reading stands alone.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

#: Any of these exists where a driver is loaded (`dxg`: in Windows' Linux subsystem).
_DRIVER_FILES: Final = ("proc/driver/nvidia/version", "dev/nvidiactl", "dev/dxg")

#: Errors that a program causes for itself and that leave the device sound; any other Xid is the device's own
#: ("Xid Errors", docs.nvidia.com/deploy/xid-errors): 13 graphics engine exception, 31 page fault, 43 reset channel,
#: 45 preemptive clean-up, 68 video processor exception, 109 context switch timeout.
_PROGRAMS_XIDS: Final = frozenset({13, 31, 43, 45, 68, 109})
#: Events taken at once; more are taken the next time.
_EVENTS: Final = 64

T = TypeVar("T")


class NvmlFailure(Exception):
    """NVML cannot be used now; the message is a sentence for the node's admin."""


@dataclass(frozen=True)
class Gpu:
    """One GPU. Memory in bytes; `fault` says why it is of no use, "" where it is."""

    index: int
    uuid: str
    name: str = ""
    memory: int = 0
    #: The number of its device file, /dev/nvidia<minor>; None where it does not say.
    minor: int | None = None
    numa_node: int | None = None
    #: CUDA compute capability, (0, 0) where it does not say.
    capability: tuple[int, int] = (0, 0)
    fault: str = ""


@dataclass(frozen=True)
class Load:
    """Percent of the time in which it worked, bytes, degrees Celsius, watts."""

    utilisation: float = 0.0
    memory_used: int = 0
    memory_total: int = 0
    temperature: float | None = None
    power: float | None = None


@dataclass
class Process:
    """What a process of the node uses on one GPU. Utilisation in percent of the GPU; None where it is not told."""

    memory: int = 0
    utilisation: float | None = None


@dataclass
class _Known:
    """What is remembered of a GPU between calls."""

    gpu: Gpu
    handle: Any
    #: Time stamp of the last utilisation sample of its processes, in microseconds.
    sampled: int = 0
    watched: bool = False
    #: The Xid that told that it is broken.
    xid: int = 0


@dataclass
class Nvml:
    """A connection to NVML, made when it is first needed and again when it was lost.

    Args:
        root: where `/dev`, `/proc` and `/sys` are.
        load: gives the module `pynvml`; raises `ImportError` where it is not installed.
    """

    root: Path = Path("/")
    load: Callable[[], Any] = lambda: importlib.import_module("pynvml")
    _module: Any = None
    _events: Any = None
    _known: dict[int, _Known] = field(default_factory=dict[int, _Known])

    @property
    def driver_is_loaded(self) -> bool:
        """Whether there can be GPUs at all; costs a look at three files."""
        return any((self.root / file).exists() for file in _DRIVER_FILES)

    def gpus(self) -> list[Gpu]:
        """All GPUs by their index, those at fault included.

        Raises:
            NvmlFailure: nothing can be said about any of them.
        """
        module = self._opened()
        try:
            count = int(module.nvmlDeviceGetCount())
        except module.NVMLError as error:
            self.close()
            raise NvmlFailure(_sentence(module, error)) from error
        for index in range(count):
            self._read(module, index)
        self._take_events(module)
        for index in [index for index in self._known if index >= count]:
            del self._known[index]
        return [_with_xid(known) for _, known in sorted(self._known.items())]

    def driver_version(self) -> str:
        """Raises `NvmlFailure`."""
        module = self._opened()
        return str(self._or(module, "", module.nvmlSystemGetDriverVersion))

    def sample(self, uuid: str) -> Load:
        """The load of a GPU that `gpus` told of; zeros for what it does not tell."""
        module, known = self._opened(), self._of(uuid)
        rates = self._or(module, None, module.nvmlDeviceGetUtilizationRates, known.handle)
        memory = self._or(module, None, module.nvmlDeviceGetMemoryInfo, known.handle)
        power = self._or(module, None, module.nvmlDeviceGetPowerUsage, known.handle)
        return Load(
            utilisation=float(rates.gpu) if rates else 0.0,
            memory_used=int(memory.used) if memory else 0,
            memory_total=int(memory.total) if memory else known.gpu.memory,
            temperature=self._temperature(module, known.handle),
            power=power / 1000 if power is not None else None,
        )

    def processes(self, uuid: str) -> dict[int, Process]:
        """Process number → what it uses of a GPU, clients of MPS included. Utilisation is since the call before."""
        module, known = self._opened(), self._of(uuid)
        found: dict[int, Process] = {}
        for listing in ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetMPSComputeRunningProcesses"):
            for one in self._listed(module, listing, known.handle):
                process = found.setdefault(int(one.pid), Process())
                process.memory = max(process.memory, int(one.usedGpuMemory or 0))
        samples = self._utilisations(module, known)
        for pid, process in found.items():
            if samples is not None:
                process.utilisation = samples.get(pid, 0.0)
        return found

    def compute_mode_is_exclusive(self, uuid: str) -> bool:
        """Whether one process alone (an MPS server) may use it. Raises `NvmlFailure`."""
        module = self._opened()
        try:
            mode = module.nvmlDeviceGetComputeMode(self._of(uuid).handle)
        except module.NVMLError as error:
            raise NvmlFailure(_sentence(module, error)) from error
        return mode == module.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS

    def set_exclusive(self, uuid: str, exclusive: bool) -> None:
        """Needs to be root. Raises `NvmlFailure`."""
        module = self._opened()
        mode = module.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS if exclusive else module.NVML_COMPUTEMODE_DEFAULT
        try:
            module.nvmlDeviceSetComputeMode(self._of(uuid).handle, mode)
        except module.NVMLError as error:
            raise NvmlFailure(_sentence(module, error)) from error

    def close(self) -> None:
        """Let go of the library; idempotent, and whatever is asked next connects again."""
        module, self._module = self._module, None
        self._events = None
        for known in self._known.values():
            known.handle, known.watched = None, False
        if module is not None:
            try:
                module.nvmlShutdown()
            except module.NVMLError:
                return

    # Beneath

    def _opened(self) -> Any:
        if self._module is not None:
            return self._module
        try:
            module = self.load()
        except ImportError as error:
            raise NvmlFailure(
                "There is an NVIDIA driver, but the package that talks to it is missing: pip install 'berth[cuda]'"
            ) from error
        try:
            module.nvmlInit()
        except module.NVMLError as error:
            raise NvmlFailure(_sentence(module, error)) from error
        self._module = module
        return module

    def _of(self, uuid: str) -> _Known:
        for known in self._known.values():
            if known.gpu.uuid == uuid and known.handle is not None:
                return known
        raise NvmlFailure(f"The GPU {uuid} does not answer.")

    def _read(self, module: Any, index: int) -> None:
        """Look at one GPU. One that has answered before and does not any more stays known, with its fault."""
        before = self._known.get(index)
        try:
            handle = module.nvmlDeviceGetHandleByIndex(index)
            uuid = str(module.nvmlDeviceGetUUID(handle))
            gpu = Gpu(
                index,
                uuid,
                str(self._or(module, "", module.nvmlDeviceGetName, handle)),
                int(module.nvmlDeviceGetMemoryInfo(handle).total),
                self._or(module, None, module.nvmlDeviceGetMinorNumber, handle),
                self._numa_node(module, handle),
                self._or(module, (0, 0), module.nvmlDeviceGetCudaComputeCapability, handle),
                self._fault(module, handle),
            )
        except module.NVMLError as error:
            if before is not None:
                lost = f"The GPU does not answer: {error}."
                before.gpu = replace(before.gpu, fault=lost)
            return
        if before is None or before.gpu.uuid != uuid:
            before = self._known[index] = _Known(gpu, handle)
        before.gpu, before.handle = gpu, handle
        self._watch(module, before)

    def _fault(self, module: Any, handle: Any) -> str:
        current, _ = self._or(module, (0, 0), module.nvmlDeviceGetMigMode, handle)
        if current:
            return "It is divided by MIG, and its instances are not given out: `nvidia-smi -mig 0`, or leave it out."
        *_, failed = self._or(module, (0, 0, 0, 0), module.nvmlDeviceGetRemappedRows, handle)
        if failed:
            return "Its memory is worn out (a row could not be remapped): it should be replaced."
        return ""

    def _numa_node(self, module: Any, handle: Any) -> int | None:
        info = self._or(module, None, module.nvmlDeviceGetPciInfo, handle)
        if info is None:
            return None
        address = f"{info.domain:04x}:{info.bus:02x}:{info.device:02x}.0"
        try:
            node = int((self.root / "sys/bus/pci/devices" / address / "numa_node").read_text())
        except (OSError, ValueError):
            return None
        return node if node >= 0 else None

    def _temperature(self, module: Any, handle: Any) -> float | None:
        for name in ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature"):
            if hasattr(module, name):
                read = self._or(module, None, getattr(module, name), handle, module.NVML_TEMPERATURE_GPU)
                if read is not None:
                    return float(read)
        return None

    def _listed(self, module: Any, name: str, handle: Any) -> list[Any]:
        """Processes; a driver older than the package knows only the older form of the call."""
        for function in (name, f"{name}_v2"):
            try:
                return list(getattr(module, function)(handle))
            except module.NVMLLibraryMismatchError:
                continue
            except module.NVMLError:
                return []
        return []

    def _utilisations(self, module: Any, known: _Known) -> dict[int, float] | None:
        """Process → mean percent of the GPU since the last call; None where it is not told."""
        try:
            samples = list(module.nvmlDeviceGetProcessUtilization(known.handle, known.sampled))
        except module.NVMLError as error:
            # Nothing has worked since then: that is an answer, too.
            return {} if error.value == module.NVML_ERROR_NOT_FOUND else None
        values: dict[int, list[int]] = {}
        for sample in samples:
            if sample.timeStamp > known.sampled and sample.smUtil <= 100:
                values.setdefault(int(sample.pid), []).append(int(sample.smUtil))
        known.sampled = max((int(sample.timeStamp) for sample in samples), default=known.sampled)
        return {pid: sum(all_) / len(all_) for pid, all_ in values.items()}

    def _watch(self, module: Any, known: _Known) -> None:
        if known.watched:
            return
        known.watched = True
        try:
            self._events = self._events or module.nvmlEventSetCreate()
            module.nvmlDeviceRegisterEvents(known.handle, module.nvmlEventTypeXidCriticalError, self._events)
        except module.NVMLError:
            return  # a GPU that tells of no errors is believed as long as it answers

    def _take_events(self, module: Any) -> None:
        for _ in range(_EVENTS if self._events is not None else 0):
            try:
                event = module.nvmlEventSetWait_v2(self._events, 0)
                uuid = str(module.nvmlDeviceGetUUID(event.device))
            except module.NVMLError:
                return  # none is left, or they cannot be had
            if event.eventData in _PROGRAMS_XIDS:
                continue
            for known in self._known.values():
                if known.gpu.uuid == uuid:
                    known.xid = int(event.eventData)

    def _or(self, module: Any, otherwise: T, read: Callable[..., T], *arguments: Any) -> T:
        try:
            return read(*arguments)
        except module.NVMLError:
            return otherwise


def _with_xid(known: _Known) -> Gpu:
    if known.gpu.fault or not known.xid:
        return known.gpu
    fault = f"It has failed with Xid {known.xid}: reset it (`nvidia-smi -r`), then restart the agent."
    return replace(known.gpu, fault=fault)


def _sentence(module: Any, error: Any) -> str:
    mend = {
        module.NVML_ERROR_LIBRARY_NOT_FOUND: "its library libnvidia-ml.so.1 is missing; install the whole driver",
        module.NVML_ERROR_DRIVER_NOT_LOADED: "it is not loaded; run `modprobe nvidia`, or boot again",
        module.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "it was upgraded under way; boot again",
        module.NVML_ERROR_NO_PERMISSION: "this needs more rights; run the agent as root",
    }
    return f"The NVIDIA driver does not do it: {mend.get(error.value, error)}."
