"""What a session sees of its node, and what it cannot."""

import asyncio
import os
import socket
import sys
from pathlib import Path

import pytest

from agents.protocol import Mount
from agents.runtimes import bubblewrap
from agents.runtimes.contract import RuntimeFailure
from agents.runtimes.process import ProcessRuntime
from tests.agents.runtimes.sandboxed import log, said, up

pytestmark = pytest.mark.sandbox


async def test_it_is_work_at_home_with_a_clean_environment(runtime: ProcessRuntime) -> None:
    os.environ["BERTH_TEST_LEAK"] = "secret"
    try:
        lines = await said(
            runtime,
            "id -u; id -g; id -un; hostname; pwd; cat /proc/self/environ | tr '\\0' '\\n' | cut -d= -f1 | sort | tr '\\n' ' '",
            environ={"GREETING": "hi", "HOME": "/elsewhere"},
        )
    finally:
        del os.environ["BERTH_TEST_LEAK"]
    assert lines[:5] == ["1000", "1000", "work", "main1", "/home/work"]
    assert set(lines[5].split()) - {"LC_CTYPE"} == {
        *("GREETING", "HOME", "LANG", "LOGNAME", "PATH", "PWD", "SHELL", "USER")
    }


async def test_it_writes_at_home_and_nowhere_else(runtime: ProcessRuntime, tmp_path: Path) -> None:
    script = (
        "for f in ~/x /tmp/x /var/tmp/x /dev/shm/x /usr/x /etc/x /x /home/x /dev/x /run/x /bin/x /etc/passwd /run/berth-init.py; "
        "do ( : >> $f ) 2>/dev/null && echo $f; done"
    )
    assert await said(runtime, script) == ["/home/work/x", "/tmp/x", "/var/tmp/x", "/dev/shm/x"]
    (place,) = (tmp_path / "kernels").iterdir()
    expected = bubblewrap.UID if os.geteuid() == 0 else os.geteuid()
    assert (place / "home/x").stat().st_uid == expected


async def test_nothing_of_the_node_but_its_programs_is_seen(runtime: ProcessRuntime, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    hidden = [
        tmp_path / "secret",
        Path("/etc/shadow"),
        Path("/etc/ssl/private"),
        Path("/sys"),
        Path("/var/lib"),
    ]
    script = (
        f"ls -d {' '.join(map(str, hidden))} /home/* 2>/dev/null; echo --; "
        "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done | grep -c . ; "
        "grep -E 'CapPrm|CapEff|NoNewPrivs' /proc/self/status | cut -f2"
    )
    lines = await said(runtime, script)
    assert lines[:2] == ["/home/work", "--"]
    # bubblewrap, the first program, this shell, and at most a few of its pipeline.
    assert int(lines[2]) <= 8
    assert lines[3:] == ["0" * 16, "0" * 16, "1"]


@pytest.mark.root
async def test_a_sandbox_of_root_is_not_root_to_the_nodes_files(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    (mounted / "file").write_text("root's")
    (mounted / "file").chmod(0o600)
    lines = await said(
        runtime,
        "cat /mnt/a/file || echo refused; touch /mnt/a/x || echo refused",
        mounts=(Mount(str(mounted), "/mnt/a"),),
    )
    assert [line for line in lines if line == "refused"] == ["refused", "refused"]


async def test_python_is_the_one_that_the_image_is_named_after(runtime: ProcessRuntime) -> None:
    lines = await said(
        runtime,
        "python3 -c 'import sys, ssl, sqlite3; print(*sys.version_info[:2], sep=\".\")'; bash -lc 'command -v python3'",
    )
    assert lines[0] == (await runtime.images())[0].labels["berth.environment.version"]
    assert lines[1] == ("/usr/bin/python3" if sys.base_prefix == "/usr" else f"{sys.base_prefix}/bin/python3")


async def test_folders_are_mounted_as_told(runtime: ProcessRuntime, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(f"in {name}\n")
        (tmp_path / name).chmod(0o777)
    lines = await said(
        runtime,
        "cat ~/data/a/file /mnt/b/file; touch ~/data/a/new && echo written; touch /mnt/b/new 2>/dev/null || echo refused",
        mounts=(
            Mount(str(tmp_path / "a"), "/home/work/data/a"),
            Mount(str(tmp_path / "b"), "/mnt/b", read_only=True),
        ),
    )
    assert lines == ["in a", "in b", "written", "refused"]
    assert (tmp_path / "a/new").exists()


async def test_links_planted_by_the_session_lead_nowhere(runtime: ProcessRuntime, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the node's")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "node.sock"))
        listener.listen()
        listener.setblocking(False)
        kernel = await up(
            runtime,
            bootstrap=f"cd /run/berth; until [ -S s ]; do sleep 0.02; done; rm -f log s; ln -s {secret} log; ln -s {tmp_path}/node.sock s; touch ~/done",
        )
        async with asyncio.timeout(30):
            while not (runtime._place(kernel, 1).home / "done").exists():
                await asyncio.sleep(0.02)
        assert await log(runtime, kernel) == b""
        with pytest.raises(RuntimeFailure) as failed:
            await runtime.open_terminal(kernel, "t", 80, 24)
        assert failed.value.code == "NOT_RUNNING"
        with pytest.raises(BlockingIOError):
            listener.accept()
    await runtime.stop(kernel, 1, 0.2)
    assert secret.read_text() == "the node's"
