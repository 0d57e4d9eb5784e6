"""`berth simulate`: a trace in, figures out; what is wrong with a file is told by its line."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from server.commands.simulate import simulate_command

CLUSTER = '[[nodes]]\ncount = 2\nslots = { cpu = 4, mem = "8g" }\n'
HEADER = "arrival,duration,user,cpu,mem\n"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "trace.csv"


def run(trace: Path, content: str, *options: str, cluster: str = CLUSTER) -> Result:
    trace.write_text(content)
    described = trace.with_name("cluster.toml")
    described.write_text(cluster)
    return CliRunner().invoke(simulate_command, [str(trace), "--cluster", str(described), *options])


def test_what_becomes_of_a_trace_is_told_in_figures(trace: Path) -> None:
    # Two nodes are taken whole for 100 s; the third session waits for them, the fourth fits nowhere.
    content = HEADER + "0,100,ann,4,1g\n0,100,ann,4,1g\n10,50,bob,4,1g\n20,10,bob,5,1g\n"
    done = run(trace, content, "--json", "--placer", "pack", "--placer", "spread")
    assert done.exit_code == 0, done.output
    pack, spread = json.loads(done.stdout)
    assert (pack["scheduler"], spread["scheduler"]) == ("fifo + pack", "fifo + spread")
    assert (pack["started"], pack["never"]) == (3, 1)
    assert pack["wait"] == {"mean": 30.0, "p95": 81.0, "max": 90}
    assert pack["utilisation"] == {"cpu": 1.0, "mem": 0.125}
    # Ann's sessions waited for nothing, Bob's one for 90 s.
    assert pack["fairness"] == 0.5
    # At the fullest moment no core is free, and of the memory nothing is of use without one.
    assert pack["fragmentation"] == {"cpu": 0.0, "mem": 1.0}
    assert sum(pack["plot"]["used"]["cpu"]) / len(pack["plot"]["used"]["cpu"]) == pytest.approx(
        250 / 300, 0.01
    )


def test_as_a_table_and_a_plot(trace: Path) -> None:
    done = run(
        trace, HEADER + "0,100,ann,4,1g\n0,60,bob,2,500m\n", "--sequencer", "drf", "--sequencer", "lifo"
    )
    assert done.exit_code == 0, done.output
    for words in (
        "2 sessions on 2 nodes",
        "drf + pack",
        "lifo + pack",
        "mean wait",
        "cpu used",
        "waiting",
        "▅",
    ):
        assert words in done.output


@pytest.mark.parametrize(
    ("content", "cluster", "said"),
    [
        ("arrival,user,cpu\n0,ann,1\n", CLUSTER, "it lacks duration"),
        ("arrival,duration,user\n0,1,ann\n", CLUSTER, "no column is a slot"),
        (HEADER, CLUSTER, "no sessions"),
        (HEADER + "0,100,ann,4\n", CLUSTER, "trace.csv:2: it has not as many cells"),
        (HEADER + "0,100,ann,4,1g,7\n", CLUSTER, "trace.csv:2: it has not as many cells"),
        (HEADER + "0,100,ann,4,1g\nsoon,1,ann,1,1g\n", CLUSTER, "trace.csv:3: arrival must be a number"),
        (HEADER + "0,0,ann,4,1g\n", CLUSTER, "trace.csv:2: duration must be a number of at least 1"),
        (HEADER + "0,NaN,ann,4,1g\n", CLUSTER, "trace.csv:2: duration must be"),
        (HEADER + "0,1,ann,-4,1g\n", CLUSTER, "trace.csv:2: cpu must be an amount"),
        (HEADER + "0,1,ann,1e99,1g\n", CLUSTER, "trace.csv:2: cpu must be an amount"),
        (HEADER + "0,1,ann,1,lots\n", CLUSTER, "trace.csv:2: mem must be an amount"),
        (HEADER + "0,1,ann,1,1g\n", "nodes = 3", "[[nodes]]"),
        (HEADER + "0,1,ann,1,1g\n", "[[nodes]]\ncount = 0\nslots = { cpu = 1 }", "count must be"),
        (HEADER + "0,1,ann,1,1g\n", "[[nodes]]\ncount = 1", "slots must be a table"),
        (HEADER + "0,1,ann,1,1g\n", "[[", "cannot be read"),
        ("\0\0\0", CLUSTER, "lacks arrival"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(trace: Path, content: str, cluster: str, said: str) -> None:
    done = run(trace, content, cluster=cluster)
    assert done.exit_code == 1
    assert said in done.output
    assert "Traceback" not in done.output


def test_an_unknown_plugin_is_named_with_those_that_there_are(trace: Path) -> None:
    done = run(trace, HEADER + "0,1,ann,1,1g\n", "--sequencer", "alphabet")
    assert done.exit_code == 1
    assert "alphabet" in done.output
    assert "fifo" in done.output
