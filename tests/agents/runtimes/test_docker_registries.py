"""Images that come from a registry with a password, pulled by a real engine."""

import contextlib
from pathlib import Path

import pytest

from agents.protocol import Credentials
from agents.pulls import Images
from agents.runtimes.contract import RuntimeFailure
from agents.runtimes.docker import DockerRuntime
from tests.services.registries.served import PASSWORD, USER, registry

pytestmark = [pytest.mark.engine, pytest.mark.registry]


async def test_a_node_pulls_with_the_registrys_password_and_not_without(tmp_path: Path) -> None:
    runtime = DockerRuntime(tmp_path, {})
    await runtime.open()
    node = Images(runtime, lambda _: None, lambda _: None)
    async with registry(tmp_path, password=True) as served:
        await served.push("berth/behind", "1")
        reference = f"{served.host}/berth/behind:1"
        try:
            for wrong in (Credentials(), Credentials(USER, "wrong")):
                with pytest.raises(RuntimeFailure) as refused:
                    await node.ensure("knl_1", reference, "if-not-present", wrong)
                assert refused.value.code == "PULL_FAILED"
                assert "wrong" not in repr(wrong)
            await node.ensure("knl_1", reference, "if-not-present", Credentials(USER, PASSWORD))
            assert reference in [image.reference for image in node.known]
            # What is there is not asked for again.
            await node.ensure("knl_2", reference, "if-not-present")
        finally:
            with contextlib.suppress(RuntimeFailure):
                await node.remove(reference)
            await runtime.close()
