"""The MPS control daemon is started, kept over restarts of the agent, begun again and ended."""

import json
import os
import signal
from pathlib import Path

import pytest

from agents.accelerators import mps
from agents.accelerators.contract import AcceleratorFailure
from agents.accelerators.mps import MpsDaemon

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux")


def test_it_is_started_for_the_gpus_that_are_shared(daemon: MpsDaemon) -> None:
    assert not daemon.answers()
    daemon.ensure(["GPU-aaaa", "GPU-bbbb"])
    assert daemon.answers()
    environ = json.loads((daemon.directory / "log/environ").read_text())
    assert environ["CUDA_VISIBLE_DEVICES"] == "GPU-aaaa,GPU-bbbb"
    assert environ["CUDA_MPS_PIPE_DIRECTORY"] == str(daemon.pipe)


def test_an_agent_that_was_restarted_keeps_it(daemon: MpsDaemon) -> None:
    daemon.ensure(["GPU-aaaa"])
    pid = daemon._pid()
    again = MpsDaemon(daemon.directory, daemon.program)
    again.ensure(["GPU-aaaa"])
    assert (again._pid(), again.answers()) == (pid, True)


def test_gpus_that_come_later_are_its_own_once_nobody_uses_it(daemon: MpsDaemon) -> None:
    """A daemon learns of GPUs at its start; one that is begun again takes the work of all its sessions with it."""
    assert daemon.ensure(["GPU-aaaa"]) == {"GPU-aaaa"}
    pid = daemon._pid()
    (daemon.pipe / "get_server_list").write_text("4711\n")
    (daemon.pipe / "get_client_list").write_text("4712\n4713\n")
    assert MpsDaemon(daemon.directory, daemon.program).ensure(["GPU-aaaa", "GPU-bbbb"]) == {"GPU-aaaa"}
    assert daemon._pid() == pid
    (daemon.pipe / "get_client_list").write_text("")
    assert daemon.ensure(["GPU-aaaa", "GPU-bbbb"]) == {"GPU-aaaa", "GPU-bbbb"}
    assert daemon._pid() not in (0, pid)
    assert daemon.ensure(["GPU-bbbb"]) == {"GPU-aaaa", "GPU-bbbb"}, "fewer are no reason"


def test_one_that_died_is_begun_again(daemon: MpsDaemon) -> None:
    daemon.ensure(["GPU-aaaa"])
    pid = daemon._pid()
    os.kill(pid, signal.SIGKILL)
    mounted = daemon.pipe.stat().st_ino
    daemon.ensure(["GPU-aaaa"])
    assert daemon.answers()
    assert daemon.pipe.stat().st_ino == mounted, "sessions that run have mounted this very directory"
    assert daemon._pid() not in (0, pid)


def test_one_that_hangs_is_given_time_and_then_replaced(
    daemon: MpsDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.ensure(["GPU-aaaa"])
    pid = daemon._pid()
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(mps, "_ANSWER_SECONDS", 0.5)
    for _ in range(2):
        with pytest.raises(AcceleratorFailure, match="does not answer"):
            daemon.ensure(["GPU-aaaa"])
    monkeypatch.setattr(MpsDaemon, "answers", lambda self: self._pid() not in (0, pid))
    daemon.ensure(["GPU-aaaa"])
    assert daemon._pid() not in (0, pid)


def test_it_ends_when_it_is_told_to(daemon: MpsDaemon) -> None:
    daemon.ensure(["GPU-aaaa"])
    daemon.quit()
    assert not daemon.answers()
    assert daemon._pid() == 0


def test_a_missing_program_is_told_with_where_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(AcceleratorFailure, match="is not installed: it comes with the driver"):
        MpsDaemon(tmp_path, "no-such-mps-control").ensure(["GPU-aaaa"])


def test_what_it_says_when_it_does_not_start_is_told(daemon: MpsDaemon) -> None:
    (daemon.directory / "refuse").touch()
    with pytest.raises(AcceleratorFailure, match="An instance of this daemon is already running"):
        daemon.ensure(["GPU-aaaa"])


def test_a_number_that_is_another_process_by_now_is_left_alone(daemon: MpsDaemon) -> None:
    daemon.pipe.mkdir()
    (daemon.pipe / "nvidia-cuda-mps-control.pid").write_text(str(os.getpid()))
    assert daemon._pid() == 0
    daemon.ensure(["GPU-aaaa"])
    assert daemon.answers()


@pytest.mark.root
def test_as_root_it_has_a_shared_memory_of_its_own(daemon: MpsDaemon) -> None:
    """What its sessions share with it is not the node's /dev/shm."""
    daemon.apart = True
    daemon.ensure(["GPU-aaaa"])
    assert daemon.shared_memory.is_mount()
    assert (daemon.shared_memory / "berth-mps-seen").exists()
    assert not Path("/dev/shm/berth-mps-seen").exists()
    daemon.quit()
    assert not daemon.shared_memory.is_mount()
