"""`berth simulate`: what another scheduler would have made of a trace."""

import itertools
import json
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import fmean, quantiles
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from scheduler import fast
from scheduler.engine import Scheduler
from scheduler.indexes import open_index
from scheduler.plugins import PluginError, placers, sequencers
from scheduler.simulation import Replay, fairness, fragmentation, mean_wait_of, simulate
from server.traces import GROUP, BadTrace, Workload, read

_BARS: Final = " ▁▂▃▄▅▆▇█"
_WIDTH: Final = 56


@click.command(
    name="simulate",
    epilog="""\b
The trace is CSV with the columns arrival and duration (seconds), user, and one for each slot (cpu, mem,
cuda.device …); group, kernels, priority and max_duration (seconds) may be added. The cluster is TOML:

\b
  [[nodes]]
  count = 4
  slots = { cpu = 64, mem = "256g", "cuda.device" = 8 }

\b
Examples:
  berth simulate trace.csv --cluster cluster.toml
  berth simulate trace.csv --cluster cluster.toml --sequencer fifo --sequencer drf --placer pack --placer spread
  berth simulate trace.csv --cluster cluster.toml --json | jq '.[].wait.mean'
""",
)
@click.argument("trace", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--cluster",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    required=True,
    help="The nodes, as TOML.",
)
@click.option("--sequencer", "chosen_sequencers", multiple=True, help="Whose turn it is; several to compare.")
@click.option("--placer", "chosen_placers", multiple=True, help="Which node is best; several to compare.")
@click.option("--no-backfill", is_flag=True, help="Reserve nothing for the head of the queue.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def simulate_command(
    trace: Path,
    cluster: Path,
    chosen_sequencers: tuple[str, ...],
    chosen_placers: tuple[str, ...],
    no_backfill: bool,
    as_json: bool,
) -> None:
    """Replay a trace of sessions against a described cluster, with the code that schedules for real."""
    try:
        workload = read(trace, cluster)
        pairs = list(itertools.product(chosen_sequencers or ("fifo",), chosen_placers or ("pack",)))
        schedulers = {
            f"{sequencer} + {placer}": Scheduler(
                sequencers.load(sequencer), placers.load(placer), backfill=not no_backfill
            )
            for sequencer, placer in pairs
        }
    except (BadTrace, PluginError) as error:
        raise click.ClickException(str(error)) from error
    compiled = fast.load()
    console = Console(stderr=True)
    results: dict[str, dict[str, Any]] = {}
    for name, scheduler in schedulers.items():
        with console.status(f"{name}: {len(workload.arrivals)} sessions"):
            began = time.perf_counter()
            replay = simulate(open_index(workload.snapshot, GROUP, scheduler, compiled), workload.arrivals)
            results[name] = {
                **figures(workload, replay),
                "seconds": round(time.perf_counter() - began, 3),
            }
    if as_json:
        click.echo(json.dumps([{"scheduler": name, **found} for name, found in results.items()], indent=2))
    else:
        show(Console(), workload, results)


def figures(workload: Workload, replay: Replay) -> dict[str, Any]:
    """What is told of a replay. Times are seconds, parts are between 0 and 1."""
    slots = workload.snapshot.slots
    capacity = [sum(column) for column in zip(*(a.capacity for a in workload.snapshot.agents), strict=True)]
    waits = replay.waits(workload.arrivals)
    last = max(one.at for one in workload.arrivals)
    by_user = mean_wait_of(workload.arrivals, replay)
    until = max(last, workload.arrivals[0].at) + 1
    return {
        "started": len(waits),
        "never": len(workload.arrivals) - len(waits),
        "wait": {
            "mean": round(fmean(waits), 1) if waits else None,
            "p95": quantiles(waits, n=20, method="inclusive")[-1] if len(waits) > 1 else (waits or [None])[0],
            "max": max(waits, default=None),
        },
        "makespan": replay.moments[-1].second,
        "utilisation": _named(slots, replay.utilisation(capacity, until)),
        "fragmentation": _named(slots, [_lost(workload, replay, column) for column in range(len(slots))]),
        "fairness": round(fairness(by_user.values()), 4),
        "plot": {
            "used": {
                slot: _sampled(replay, [m.used[column] / (capacity[column] or 1) for m in replay.moments])
                for column, slot in enumerate(slots)
            },
            "waiting": _sampled(replay, [m.waiting for m in replay.moments]),
        },
    }


def show(console: Console, workload: Workload, results: dict[str, dict[str, Any]]) -> None:
    slots = workload.snapshot.slots
    table = Table(title=f"{len(workload.arrivals)} sessions on {len(workload.snapshot.agents)} nodes")
    table.add_column("")
    for name in results:
        table.add_column(name, justify="right")
    rows: dict[str, Callable[[dict[str, Any]], str]] = {
        "mean wait": lambda found: _span(found["wait"]["mean"]),
        "95 % wait at most": lambda found: _span(found["wait"]["p95"]),
        "longest wait": lambda found: _span(found["wait"]["max"]),
        "never started": lambda found: str(found["never"]),
        "fairness": lambda found: f"{found['fairness']:.2f}",
        **{f"{slot} used": partial(_part, "utilisation", slot) for slot in slots},
        **{f"{slot} lost": partial(_part, "fragmentation", slot) for slot in slots},
    }
    for heading, cell in rows.items():
        table.add_row(heading, *map(cell, results.values()))
    console.print(table)
    console.print(
        "used: on average until the last arrival. lost: of what is free at the fullest moment, what the\n"
        "trace's sessions could not use. fairness: 1 where all users wait equally long.",
        style="dim",
    )
    for name, found in results.items():
        console.print(f"\n[bold]{name}[/]  from 0 to {_span(found['makespan'])}")
        for slot, parts in found["plot"]["used"].items():
            console.print(f"{slot:>14} {_bars(parts, 1)}  100 %", highlight=False)
        most = max(found["plot"]["waiting"], default=0)
        console.print(f"{'waiting':>14} {_bars(found['plot']['waiting'], most)}  {most:.0f}", highlight=False)


def _part(what: str, slot: str, found: dict[str, Any]) -> str:
    return f"{found[what][slot]:.1%}"


def _named(slots: tuple[str, ...], values: list[float]) -> dict[str, float]:
    return {slot: round(value, 4) for slot, value in zip(slots, values, strict=True)}


def _lost(workload: Workload, replay: Replay, column: int) -> float:
    """Fragmentation of a slot at the moment at which most of it is used."""
    peak = max(replay.moments, key=lambda moment: moment.used[column]).second
    free = {agent.id: list(agent.capacity) for agent in workload.snapshot.agents}
    for one in workload.arrivals:
        start = replay.starts.get(one.request.session_id)
        if start is None or not start <= peak < start + one.runs:
            continue
        for agent in replay.agents[one.request.session_id]:
            free[agent] = [
                have - need for have, need in zip(free[agent], one.request.shape.needs, strict=True)
            ]
    mix = Counter(one.request.shape.needs for one in workload.arrivals if one.request.shape.needs[column])
    return fragmentation(workload.snapshot.agents, free, mix, column)


def _sampled(replay: Replay, values: list[float]) -> list[float]:
    """The mean of a value over time in each of as many spans as the plot is wide."""
    moments = replay.moments
    length = max(moments[-1].second, 1) / _WIDTH
    areas = [0.0] * _WIDTH
    for moment, following, value in zip(moments, moments[1:], values, strict=False):
        begin, end = moment.second, following.second
        for span in range(int(begin / length), min(int(end / length) + 1, _WIDTH)):
            areas[span] += value * max(0.0, min((span + 1) * length, end) - max(span * length, begin))
    return [round(area / length, 4) for area in areas]


def _bars(values: list[float], most: float) -> str:
    def bar(value: float) -> str:
        level = value / most * (len(_BARS) - 1) if most else 0
        return _BARS[min(max(1, round(level)) if value else 0, len(_BARS) - 1)]

    return "".join(map(bar, values))


def _span(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
