"""A stand-in for the driver's libnvidia-ml.so.1, beneath the real nvidia-ml-py.

It has the C functions by the names, arguments, structs and return codes that NVML documents, so the real package's own
code runs on it: its structs, its error classes, its calling twice to learn a size. A function that a driver lacks is
simply not there.
"""

import ctypes
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pynvml

SUCCESS = pynvml.NVML_SUCCESS
NOT_SUPPORTED = pynvml.NVML_ERROR_NOT_SUPPORTED


@dataclass
class FakeProcess:
    pid: int
    memory: int | None = 0
    mps: bool = False


@dataclass
class FakeGpu:
    """One GPU as the driver sees it. A name in `fails` makes that function return the code."""

    uuid: str
    name: str = "NVIDIA H100 80GB HBM3"
    memory: int = 80 << 30
    used: int = 1 << 30
    minor: int = 0
    bus: int = 0x3B
    capability: tuple[int, int] = (9, 0)
    mig: bool = False
    worn_out: bool = False
    busy: int = 0
    exclusive: bool = False
    processes: list[FakeProcess] = field(default_factory=list[FakeProcess])
    #: (pid, time stamp in microseconds, percent)
    samples: list[tuple[int, int, int]] = field(default_factory=list[tuple[int, int, int]])
    watched: bool = False
    fails: dict[str, int] = field(default_factory=dict[str, int])


@dataclass
class FakeLibrary:
    """What `CDLL("libnvidia-ml.so.1")` would give. A name in `missing` is a function of a newer driver."""

    gpus: list[FakeGpu] = field(default_factory=list[FakeGpu])
    missing: set[str] = field(default_factory=set[str])
    fails: dict[str, int] = field(default_factory=dict[str, int])
    #: Xids to be told: (UUID, number).
    events: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    opened: int = 0
    root: bool = True
    calls: list[str] = field(default_factory=list[str])

    def __getattr__(self, name: str) -> Callable[..., int]:
        function = _FUNCTIONS.get(name)
        if function is None or name in self.missing:
            raise AttributeError(name)
        return functools.partial(self._call, name, function)

    def _call(self, name: str, function: Callable[..., int], *arguments: Any) -> int:
        self.calls.append(name)
        if name in self.fails:
            return self.fails[name]
        if self.opened <= 0 and name != "nvmlInitWithFlags":
            return pynvml.NVML_ERROR_UNINITIALIZED
        return function(self, *arguments)


_FUNCTIONS: dict[str, Callable[..., int]] = {}
_FIRST_HANDLE = 0x1000


def c_function(function: Callable[..., int]) -> Callable[..., int]:
    _FUNCTIONS[function.__name__] = function
    return function


def of_gpu(function: Callable[..., int]) -> Callable[..., int]:
    """Functions whose first argument is a device handle."""

    @functools.wraps(function)
    def called(library: FakeLibrary, handle: Any, *arguments: Any) -> int:
        number = ctypes.cast(handle, ctypes.c_void_p).value
        if number is None or not 0 <= number - _FIRST_HANDLE < len(library.gpus):
            return pynvml.NVML_ERROR_INVALID_ARGUMENT
        gpu = library.gpus[number - _FIRST_HANDLE]
        if function.__name__ in gpu.fails:
            return gpu.fails[function.__name__]
        return function(library, gpu, *arguments)

    return c_function(called)


def put(reference: Any, value: Any) -> int:
    """`*reference = value`, for a simple type."""
    reference._obj.value = value
    return SUCCESS


def put_handle(reference: Any, address: int) -> int:
    pointer = ctypes.c_void_p(address)
    ctypes.memmove(reference, ctypes.byref(pointer), ctypes.sizeof(pointer))
    return SUCCESS


def put_text(buffer: Any, text: str, length: Any) -> int:
    if len(text) >= length.value:
        return pynvml.NVML_ERROR_INSUFFICIENT_SIZE
    buffer.value = text.encode()
    return SUCCESS


@c_function
def nvmlInitWithFlags(library: FakeLibrary, flags: int) -> int:
    library.opened += 1
    return SUCCESS


@c_function
def nvmlShutdown(library: FakeLibrary) -> int:
    library.opened -= 1
    return SUCCESS


@c_function
def nvmlSystemGetDriverVersion(library: FakeLibrary, buffer: Any, length: Any) -> int:
    return put_text(buffer, "570.86.15", length)


@c_function
def nvmlDeviceGetCount_v2(library: FakeLibrary, count: Any) -> int:
    return put(count, len(library.gpus))


@c_function
def nvmlDeviceGetHandleByIndex_v2(library: FakeLibrary, index: Any, handle: Any) -> int:
    if index.value >= len(library.gpus):
        return pynvml.NVML_ERROR_INVALID_ARGUMENT
    if code := library.gpus[index.value].fails.get("nvmlDeviceGetHandleByIndex_v2"):
        return code
    return put_handle(handle, _FIRST_HANDLE + index.value)


@of_gpu
def nvmlDeviceGetUUID(library: FakeLibrary, gpu: FakeGpu, buffer: Any, length: Any) -> int:
    return put_text(buffer, gpu.uuid, length)


@of_gpu
def nvmlDeviceGetName(library: FakeLibrary, gpu: FakeGpu, buffer: Any, length: Any) -> int:
    return put_text(buffer, gpu.name, length)


@of_gpu
def nvmlDeviceGetMinorNumber(library: FakeLibrary, gpu: FakeGpu, minor: Any) -> int:
    return put(minor, gpu.minor)


@of_gpu
def nvmlDeviceGetPciInfo_v3(library: FakeLibrary, gpu: FakeGpu, info: Any) -> int:
    info._obj.domain, info._obj.bus, info._obj.device = 0, gpu.bus, 0
    info._obj.busId = f"00000000:{gpu.bus:02X}:00.0".encode()
    return SUCCESS


@of_gpu
def nvmlDeviceGetMemoryInfo(library: FakeLibrary, gpu: FakeGpu, memory: Any) -> int:
    memory._obj.total, memory._obj.used, memory._obj.free = gpu.memory, gpu.used, gpu.memory - gpu.used
    return SUCCESS


@of_gpu
def nvmlDeviceGetUtilizationRates(library: FakeLibrary, gpu: FakeGpu, rates: Any) -> int:
    rates._obj.gpu, rates._obj.memory = gpu.busy, 0
    return SUCCESS


@of_gpu
def nvmlDeviceGetTemperature(library: FakeLibrary, gpu: FakeGpu, sensor: Any, degrees: Any) -> int:
    return put(degrees, 41)


@of_gpu
def nvmlDeviceGetTemperatureV(library: FakeLibrary, gpu: FakeGpu, temperature: Any) -> int:
    temperature._obj.temperature = 42
    return SUCCESS


@of_gpu
def nvmlDeviceGetPowerUsage(library: FakeLibrary, gpu: FakeGpu, milliwatts: Any) -> int:
    return put(milliwatts, 123_500)


@of_gpu
def nvmlDeviceGetCudaComputeCapability(library: FakeLibrary, gpu: FakeGpu, major: Any, minor: Any) -> int:
    put(major, gpu.capability[0])
    return put(minor, gpu.capability[1])


@of_gpu
def nvmlDeviceGetMigMode(library: FakeLibrary, gpu: FakeGpu, current: Any, pending: Any) -> int:
    put(pending, int(gpu.mig))
    return put(current, int(gpu.mig))


@of_gpu
def nvmlDeviceGetRemappedRows(
    library: FakeLibrary, gpu: FakeGpu, corrected: Any, uncorrected: Any, pending: Any, failed: Any
) -> int:
    return put(failed, int(gpu.worn_out))


@of_gpu
def nvmlDeviceGetComputeMode(library: FakeLibrary, gpu: FakeGpu, mode: Any) -> int:
    exclusive, default = pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS, pynvml.NVML_COMPUTEMODE_DEFAULT
    return put(mode, exclusive if gpu.exclusive else default)


@of_gpu
def nvmlDeviceSetComputeMode(library: FakeLibrary, gpu: FakeGpu, mode: Any) -> int:
    if not library.root:
        return pynvml.NVML_ERROR_NO_PERMISSION
    gpu.exclusive = mode.value == pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS
    return SUCCESS


def _list(processes: list[FakeProcess], count: Any, array: Any) -> int:
    room, count._obj.value = count._obj.value, len(processes)
    if not processes:
        return SUCCESS
    if array is None or room < len(processes):
        return pynvml.NVML_ERROR_INSUFFICIENT_SIZE
    for position, process in enumerate(processes):
        array[position].pid = process.pid
        array[position].usedGpuMemory = (
            pynvml.NVML_VALUE_NOT_AVAILABLE_ulonglong.value if process.memory is None else process.memory
        )
    return SUCCESS


@of_gpu
def nvmlDeviceGetComputeRunningProcesses_v3(
    library: FakeLibrary, gpu: FakeGpu, count: Any, array: Any
) -> int:
    return _list([process for process in gpu.processes if not process.mps], count, array)


@of_gpu
def nvmlDeviceGetComputeRunningProcesses_v2(
    library: FakeLibrary, gpu: FakeGpu, count: Any, array: Any
) -> int:
    return _list([process for process in gpu.processes if not process.mps], count, array)


@of_gpu
def nvmlDeviceGetMPSComputeRunningProcesses_v3(
    library: FakeLibrary, gpu: FakeGpu, count: Any, array: Any
) -> int:
    return _list([process for process in gpu.processes if process.mps], count, array)


@of_gpu
def nvmlDeviceGetProcessUtilization(
    library: FakeLibrary, gpu: FakeGpu, array: Any, count: Any, since: Any
) -> int:
    fresh = [sample for sample in gpu.samples if sample[1] > since.value]
    room, count._obj.value = count._obj.value, len(fresh)
    if not fresh:
        return pynvml.NVML_ERROR_NOT_FOUND
    if array is None or room < len(fresh):
        return pynvml.NVML_ERROR_INSUFFICIENT_SIZE
    for position, (pid, stamp, percent) in enumerate(fresh):
        array[position].pid, array[position].timeStamp, array[position].smUtil = pid, stamp, percent
    return SUCCESS


@c_function
def nvmlEventSetCreate(library: FakeLibrary, event_set: Any) -> int:
    return put_handle(event_set, 0x9000)


@of_gpu
def nvmlDeviceRegisterEvents(library: FakeLibrary, gpu: FakeGpu, types: Any, event_set: Any) -> int:
    if types.value != pynvml.nvmlEventTypeXidCriticalError:
        return pynvml.NVML_ERROR_INVALID_ARGUMENT
    gpu.watched = True
    return SUCCESS


@c_function
def nvmlEventSetWait_v2(library: FakeLibrary, event_set: Any, event: Any, timeout: Any) -> int:
    if not library.events:
        return pynvml.NVML_ERROR_TIMEOUT
    uuid, xid = library.events.pop(0)
    index = next(position for position, gpu in enumerate(library.gpus) if gpu.uuid == uuid)
    event._obj.eventType = pynvml.nvmlEventTypeXidCriticalError
    event._obj.eventData = xid
    pointer = ctypes.c_void_p(_FIRST_HANDLE + index)
    ctypes.memmove(
        ctypes.addressof(event._obj) + type(event._obj).device.offset,
        ctypes.byref(pointer),
        ctypes.sizeof(pointer),
    )
    return SUCCESS
