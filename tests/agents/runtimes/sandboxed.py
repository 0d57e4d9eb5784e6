"""Kernels in real sandboxes, for the tests of the process runtime."""

import asyncio
import secrets
from typing import Any

from agents.protocol import KernelSpec
from agents.runtimes.contract import Terminal
from agents.runtimes.process import ProcessRuntime


async def spec(runtime: ProcessRuntime, **more: Any) -> KernelSpec:
    given: dict[str, Any] = {
        "session": f"ses_{secrets.token_hex(6)}",
        "session_name": "test",
        "image": (await runtime.images())[1].reference,
        "architecture": "x86_64",
        "slots": {"cpu": 500, "mem": 128 * 2**20},
        **more,
    }
    return KernelSpec(**given)


async def up(runtime: ProcessRuntime, **more: Any) -> str:
    kernel = f"knl_test{secrets.token_hex(6)}"
    await runtime.create(kernel, 1, await spec(runtime, **more))
    await runtime.start(kernel, 1)
    return kernel


async def log(runtime: ProcessRuntime, kernel: str, tail: int = 0) -> bytes:
    return b"".join([part async for part in runtime.logs(kernel, tail, follow=False)])


async def until(terminal: Terminal, text: bytes) -> bytes:
    shown = b""
    async with asyncio.timeout(20):
        while text not in shown:
            part = await terminal.read()
            assert part, shown
            shown += part
    return shown


async def said(runtime: ProcessRuntime, script: str, **more: Any) -> list[str]:
    """What a command prints, by lines."""
    kernel = await up(runtime, command=script, **more)
    await asyncio.wait_for(runtime.wait(kernel, 1), 30)
    return (await log(runtime, kernel)).decode().splitlines()
