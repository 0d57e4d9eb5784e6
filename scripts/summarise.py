"""The end of scripts/test: what the suites really ran against, what each did, and the counts on the last line.

    python scripts/summarise.py REPORTS     a folder with a JUnit file SUITE.xml and a SUITE.status (exit status) a suite

A suite whose runner failed without a failed test (a crash, nothing collected) counts as one failure. Exit status 1 when
anything failed.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiodocker
import asyncpg
from aiodocker.exceptions import DockerError
from redis.asyncio import Redis
from redis.exceptions import RedisError

#: Of pytest and vitest: some tests failed. Any other status is the runner's own trouble.
TESTS_FAILED = 1


@dataclass
class Suite:
    name: str
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0


def read(report: Path) -> Suite:
    """A suite from its JUnit file and its runner's exit status."""
    suite = Suite(report.stem.removesuffix(".status"))
    xml = report.with_suffix(".xml")
    if xml.exists():
        for case in ET.parse(xml).getroot().iter("testcase"):
            count(suite, case)
    status = int(report.read_text())
    if status not in (0, TESTS_FAILED) or (status and not suite.counts["failed"]):
        suite.counts["failed"] += 1
        suite.failures.append(f"the runner itself ended with status {status}")
    return suite


def count(suite: Suite, case: ET.Element) -> None:
    suite.seconds += float(case.get("time") or 0)
    skipped = case.find("skipped")
    if case.find("failure") is not None or case.find("error") is not None:
        suite.counts["failed"] += 1
        suite.failures.append(f"{case.get('classname')} {case.get('name')}")
    elif skipped is not None:
        suite.counts["skipped"] += 1
        suite.reasons[(skipped.get("message") or "no reason given").splitlines()[0]] += 1
    else:
        suite.counts["passed"] += 1


async def engine() -> str:
    try:
        async with asyncio.timeout(10), aiodocker.Docker() as docker:
            return f"{(await docker.version())['Version']} at {docker.docker_host}"
    except (OSError, ValueError, AssertionError, DockerError, TimeoutError) as error:
        return f"none ({error})"


async def postgres() -> str:
    url = os.environ.get("BERTH_TEST_DATABASE_URL")
    if not url:
        return "none"
    try:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""), timeout=10)
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        return f"none ({error})"
    try:
        return str(await connection.fetchval("SHOW server_version"))
    finally:
        await connection.close()


async def redis() -> str:
    url = os.environ.get("BERTH_TEST_REDIS_URL")
    if not url:
        return "none"
    client = Redis.from_url(url)
    try:
        return str((await client.info("server"))["redis_version"])
    except (OSError, RedisError) as error:
        return f"none ({error})"
    finally:
        await client.aclose()


def version_of(program: str | None) -> str:
    """The first line that a program says of itself."""
    path = shutil.which(program) if program else None
    if path is None:
        return "none"
    said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=False)
    return (said.stdout.strip() or said.stderr.strip() or "silent").splitlines()[0]


async def main(suites: list[Suite]) -> int:
    exercised = {
        "Python": sys.version.split()[0],
        "Engine": await engine(),
        "PostgreSQL": await postgres(),
        "Redis": await redis(),
        "Browser": version_of(os.environ.get("CHROME_PATH") or "chromium"),
        "Sandbox": version_of("bwrap"),
        "Node": version_of("node"),
    }
    print("\nExercised")
    for name, found in exercised.items():
        print(f"  {name:11} {found}")
    print("\nSuites        passed  failed  skipped   seconds of tests")
    total: Counter[str] = Counter()
    for suite in suites:
        counts = suite.counts
        total.update(counts)
        print(
            f"  {suite.name:11} {counts['passed']:6}  {counts['failed']:6}  {counts['skipped']:7}   {suite.seconds:.0f}"
        )
    for suite in suites:
        for failure in suite.failures:
            print(f"  failed: {suite.name}: {failure}")
    for reason, times in sum((suite.reasons for suite in suites), Counter[str]()).most_common():
        print(f"  skipped {times}: {reason}")
    print(f"\n{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return 1 if total["failed"] or not suites else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main([read(report) for report in sorted(Path(sys.argv[1]).glob("*.status"))])))
