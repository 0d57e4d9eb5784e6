"""What an operator sees of a manager: metrics, health, log lines that say whose request they are of, traces."""

import gzip
import json
import logging
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select, text
from starlette.applications import Starlette
from starlette.requests import Request

from agents import logs
from agents.protocol import PROTOCOL, CreateKernel
from server import health, manager, owners, telemetry
from server.app import make_app
from server.config import Config
from server.listening import CannotServe
from server.metrics import MetricsPage
from services import agents, requests, tracing
from services.commands import Commands
from services.core import Core
from services.db.tables import AuditEvent
from services.options import MAIL_HOST
from tests.services.conftest import (  # noqa: F401  # the same databases
    core,
    database_url,
    make,
    postgres_template,
    sqlite_template,
    template,
)
from tests.services.test_networks import Nodes, deliver
from tests.services.world import World

TOKEN = "metrics-token-1"
PASSWORD = "right-Horse-1!"
LOGIN = "mutation ($input: LoginInput!) { login(input: $input) { accessToken } }"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def configured(path: Path, **more: Any) -> Config:
    return Config(data_dir=path, port=8080, admin_password=PASSWORD, metrics_token=TOKEN, **more)


@pytest.fixture
async def app(tmp_path: Path) -> AsyncGenerator[Starlette]:
    made = make_app(configured(tmp_path))
    async with made.router.lifespan_context(made):
        yield made


def client(app: Starlette, address: str = "127.0.0.1", **headers: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, client=(address, 1))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080", headers=headers)


async def operate(app: Starlette, query: str, token: str = "", **variables: Any) -> httpx.Response:
    async with client(app, **({"authorization": f"Bearer {token}"} if token else {})) as http:
        return await http.post("/graphql", json={"query": query, "variables": variables})


async def log_in(app: Starlette, password: str = PASSWORD) -> httpx.Response:
    given = {"email": "admin@localhost.local", "password": password, "cookie": False}
    return await operate(app, LOGIN, input=given)


def read(page: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def of(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


async def test_what_was_done_is_counted_by_operation_and_result(app: Starlette) -> None:
    token = (await log_in(app)).json()["data"]["login"]["accessToken"]
    await log_in(app, "wrong-Horse-1!")
    await operate(app, "{ viewer { role } server { version } }", token)
    await operate(app, "{ server { version } }")
    await operate(app, "{ nothing }", token)
    await operate(app, "{ server { version } }", "not-a-token")
    async with client(app) as http:
        samples = read((await http.get("/metrics")).text)
    done = {"kind": "mutation", "field": "login"}
    assert of(samples, "berth_operations_total", **done, result="OK") == 1
    assert of(samples, "berth_operations_total", **done, result="UNAUTHENTICATED") == 1
    assert of(samples, "berth_operation_seconds_count", **done) == 2
    assert of(samples, "berth_operations_total", kind="query", field="several", result="OK") == 1
    assert of(samples, "berth_operations_total", kind="query", field="server", result="OK") == 1
    assert of(samples, "berth_operations_total", kind="query", field="unknown", result="BAD_USER_INPUT") == 1
    assert of(samples, "berth_requests_refused_total", result="UNAUTHENTICATED") == 1
    assert (of(samples, "berth_database_up"), of(samples, "berth_bus_up")) == (1, 1)
    assert any(name == "berth_build_info" for name, _ in samples)
    assert any(name == "process_resident_memory_bytes" for name, _ in samples)


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("192.0.2.1", {}, 403),
        ("192.0.2.1", {"authorization": f"Bearer {TOKEN}"}, 200),
        ("192.0.2.1", {"authorization": "Bearer wrong"}, 403),
        ("192.0.2.1", {"authorization": "Bearer \u00e9"}, 403),
        ("127.0.0.1", {"authorization": "Bearer wrong"}, 403),
        # A proxy on this machine that nobody has told us of passes everybody on from the loopback.
        ("127.0.0.1", {"x-forwarded-for": "192.0.2.1"}, 403),
        ("127.0.0.1", {"forwarded": "for=192.0.2.1"}, 403),
        ("not-an-address", {}, 403),
    ],
)
async def test_who_may_read_the_metrics(
    core: Core,  # noqa: F811
    tmp_path: Path,
    address: str,
    headers: dict[str, str],
    status: int,
) -> None:
    named = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    asking = Request({"type": "http", "client": (address, 1), "headers": named})
    assert (await MetricsPage(configured(tmp_path), core)(asking)).status_code == status


async def test_without_a_token_in_the_settings_none_is_right(core: Core, tmp_path: Path) -> None:  # noqa: F811
    page = MetricsPage(Config(data_dir=tmp_path, metrics_allow=""), core)
    for headers in ([], [(b"authorization", b"Bearer ")], [(b"authorization", b"Bearer x")]):
        asking = Request({"type": "http", "client": ("127.0.0.1", 1), "headers": headers})
        assert (await page(asking)).status_code == 403


async def test_sessions_agents_and_decisions_are_counted_by_what_they_are(
    core: Core,  # noqa: F811
    tmp_path: Path,
) -> None:
    world = await World(core).build(concurrent=1)
    actor, _ = await world.user(), await world.agent()
    for _ in range(2):
        await world.launch(actor)
    await world.dispatch()
    await world.launch(actor)
    page = MetricsPage(Config(data_dir=tmp_path), core)
    answer = await page(Request({"type": "http", "client": ("127.0.0.1", 1), "headers": []}))
    samples = read(bytes(answer.body).decode())
    assert of(samples, "berth_sessions", status="SCHEDULED") == 1
    assert of(samples, "berth_sessions", status="PENDING") == 2
    assert of(samples, "berth_queue_sessions", reason="LIMIT_REACHED") == 1
    assert of(samples, "berth_queue_sessions", reason="NEW") == 1
    assert of(samples, "berth_agents", status="ALIVE") == 1
    assert of(samples, "berth_scheduler_decisions_total", decision="PLACED") == 1
    assert (of(samples, "berth_scheduler_decisions_total", decision="WAITING") or 0) >= 1
    assert (of(samples, "berth_scheduler_cycle_seconds_count") or 0) >= 1
    assert of(samples, "berth_dispatching") == 1
    assert of(samples, "berth_database_connections", state="limit") == 20


async def test_a_database_that_is_away_leaves_the_other_numbers_there(
    core: Core,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken() -> Any:
        raise OSError("away")

    monkeypatch.setattr(core.db, "read", broken)
    page = MetricsPage(Config(data_dir=tmp_path), core)
    answer = await page(Request({"type": "http", "client": ("127.0.0.1", 1), "headers": []}))
    assert of(read(bytes(answer.body).decode()), "berth_database_up") == 0
    ready = await health.Health(core).ready(Request({"type": "http"}))
    assert (ready.status_code, json.loads(bytes(ready.body))["status"]) == (503, "unavailable")


async def test_it_is_ready_with_the_tables_of_its_own_release(app: Starlette) -> None:
    async with client(app) as http:
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        well = await http.get("/readyz")
        assert (well.status_code, well.json()["checks"]) == (200, {"database": "ok", "bus": "ok"})
        async with app.state.manager.core.db.write() as db:
            await db.execute(text("UPDATE alembic_version SET version_num = '0000'"))
        other = await http.get("/readyz")
        assert (other.status_code, other.json()["checks"]["database"]) == (
            503,
            "has the tables of another release",
        )
        assert (await http.get("/healthz")).status_code == 200


async def test_answers_and_log_lines_have_the_number_of_their_request(
    app: Starlette, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    handler = logging.Handler()
    handler.setFormatter(logs.Json())
    handler.addFilter(logs.labelled(requests.labels))
    monkeypatch.setattr(handler, "emit", lambda record: lines.append(handler.format(record)))
    logger = logging.getLogger("schema.errors")
    logger.addHandler(handler)
    try:
        token = (await log_in(app)).json()["data"]["login"]["accessToken"]
        core = app.state.manager.core
        with monkeypatch.context() as patched:
            patched.setattr("resolvers.usage.recounts.recalculate", None)
            answer = await operate(
                app, "mutation { recalculateUsage(input: {}) { corrections { slot } } }", token
            )
        async with core.db.read() as db:
            audited = (
                await db.execute(
                    text("SELECT request_id, outcome, code FROM audit_events ORDER BY id DESC LIMIT 1")
                )
            ).one()
    finally:
        logger.removeHandler(handler)
    (line,) = [json.loads(one) for one in lines]
    assert answer.json()["errors"][0]["extensions"]["code"] == "INTERNAL"
    assert line["request"] == answer.headers["x-request-id"] == audited[0]
    assert (audited[1], audited[2]) == ("FAILED", "INTERNAL")
    assert line["operation"] == "mutation recalculateUsage"
    assert line["user"].startswith("usr_")
    assert requests.labels() == {}


async def test_what_changes_something_without_a_mutation_is_in_the_audit_as_well(app: Starlette) -> None:
    running = app.state.manager
    mine, first = running.core, running.first_run
    link = await owners.link(mine)
    join = {"name": "node-1", "protocol": PROTOCOL}
    async with mine.db.write() as db:
        at = mine.now()
        group = first.resource_group_id
        await agents.admit(db, "join-token", group, at + timedelta(hours=1), created_by=None, at=at)
    async with client(app, "192.0.2.1") as http:
        refused = await http.post("/agents/join", json={**join, "token": "wrong-token"})
        joined = await http.post("/agents/join", json={**join, "token": "join-token"})
    assert (refused.status_code, joined.status_code) == (401, 200)
    async with mine.db.read() as db:
        rows = (await db.scalars(select(AuditEvent))).all()
    found = {(row.action, row.outcome): row for row in rows}
    assert found["first start", "DONE"].address == ""
    assert found["berth link", "DONE"].target_id == first.user_id
    assert found["joinAgent", "REFUSED"].code == "UNAUTHENTICATED"
    assert found["joinAgent", "DONE"].target_id == joined.json()["agentId"]
    assert found["joinAgent", "DONE"].address == "192.0.2.1"
    secrets = ("join-token", link.url.partition("#")[2], joined.json()["credential"], PASSWORD)
    assert not any(secret in row.content for row in rows for secret in secrets)


async def test_a_setting_takes_effect_in_a_running_manager_and_goes_back_to_its_configuration(
    tmp_path: Path,
) -> None:
    config = configured(tmp_path, sign_up="invitation", settings={"mailHost": "smtp.example.org"})
    made = make_app(config)
    async with made.router.lifespan_context(made):
        token = (await log_in(made)).json()["data"]["login"]["accessToken"]

        async def mode() -> str:
            return (await operate(made, "{ server { signUpMode } }")).json()["data"]["server"]["signUpMode"]

        async def change(value: str | None) -> Any:
            query = "mutation ($i: UpdateSettingsInput!) { updateSettings(input: $i) { settings { value default } } }"
            given = {"settings": [{"key": "signUpMode", "value": value}]}
            answer = (await operate(made, query, token, i=given)).json()
            return answer["data"]["updateSettings"]["settings"][0]

        assert await mode() == "INVITATION"
        assert await change("OPEN") == {"value": "OPEN", "default": "INVITATION"}
        assert await mode() == "OPEN"
        assert await change(None) == {"value": "INVITATION", "default": "INVITATION"}
        assert await mode() == "INVITATION"
        assert made.state.manager.core.options.value(MAIL_HOST) == "smtp.example.org"


class Collector(ThreadingHTTPServer):
    """Takes spans by OTLP over HTTP, as an OpenTelemetry collector does."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Intake)
        self.spans: list[Span] = []
        self.resource: dict[str, str] = {}

    def named(self, name: str) -> Span:
        (only,) = [span for span in self.spans if span.name == name]
        return only


class _Intake(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        assert isinstance(self.server, Collector)
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.server.resource |= {one.key: one.value.string_value for one in resource.resource.attributes}
            self.server.spans += [span for scope in resource.scope_spans for span in scope.spans]
        self.send_response(200 if self.path == "/v1/traces" else 404)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Nothing on the console of the tests."""


@contextmanager
def collecting() -> Generator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def told(span: Span) -> dict[str, str]:
    return {one.key: one.value.string_value for one in span.attributes}


async def test_requests_are_traced_to_a_collector(tmp_path: Path) -> None:
    with collecting() as collector:
        config = configured(tmp_path, otlp_endpoint=f"http://127.0.0.1:{collector.server_port}")
        made = make_app(config)
        async with made.router.lifespan_context(made):
            await log_in(made)
            async with client(
                made, traceparent="00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
            ) as http:
                query = "mutation { logoutEverywhere { deletedIds } }"
                await http.post("/graphql", json={"query": query})
        # All of it has been sent by the end of the manager.
        login, refused = collector.named("mutation login"), collector.named("mutation logoutEverywhere")
        parents = {span.span_id: span for span in collector.spans}
        assert parents[login.parent_span_id].name == "POST /graphql"
        assert any(
            span.name == "transaction" and span.parent_span_id == login.span_id for span in collector.spans
        )
        assert told(login)["graphql.field"] == "login"
        assert login.status.code != Status.STATUS_CODE_ERROR
        assert refused.status.code == Status.STATUS_CODE_ERROR
        # Who asks may be traced as well: it is one trace then.
        assert refused.trace_id.hex() == "0123456789abcdef0123456789abcdef"
        assert parents[refused.parent_span_id].parent_span_id.hex() == "0123456789abcdef"
        assert told(refused)["error.type"] == "UNAUTHENTICATED"
        assert collector.resource["service.name"] == "berth"
        assert PASSWORD not in str(collector.spans)
    assert not tracing.active()


async def test_commands_to_agents_are_traced(core: Core) -> None:  # noqa: F811
    with collecting() as collector:
        endpoint = f"http://127.0.0.1:{collector.server_port}"
        with telemetry.exporting(endpoint, ratio=1.0, instance="test"):
            world = await World(core).build()
            actor, agent = await world.user(), await world.agent()
            await world.launch(actor)
            await world.dispatch()
            nodes = Nodes(agent)
            core.hub = nodes  # type: ignore[assignment]
            await deliver(Commands(core, world.links), nodes)
        span = collector.named("agent CreateKernel")
        assert told(span)["berth.agent"] == agent
        assert len(nodes.took(CreateKernel)) == 1


async def test_a_collector_that_is_away_is_no_matter_to_requests(tmp_path: Path) -> None:
    with collecting() as collector:
        port = collector.server_port
    made = make_app(configured(tmp_path, otlp_endpoint=f"http://127.0.0.1:{port}"))
    async with made.router.lifespan_context(made):
        assert (await log_in(made)).status_code == 200


async def test_traces_without_what_they_need_are_refused_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_name: str) -> Any:
        raise ImportError("no module", name="opentelemetry")

    monkeypatch.setattr(manager.importlib, "import_module", missing)
    with pytest.raises(CannotServe, match=r"berth\[server,telemetry\]"):
        async with manager.running(configured(tmp_path, otlp_endpoint="http://127.0.0.1:1")):
            pass


def test_a_wrong_network_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="metrics_allow"):
        Config(data_dir=tmp_path, metrics_allow="10.0.0.0/33")
