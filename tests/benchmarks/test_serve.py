"""The client counts from arrival and by status; tables read what the bench wrote."""

import asyncio
import json
import threading

import numpy as np
import pytest

from recsys_lib.benchmarks import serve
from recsys_lib.benchmarks.serve import client, scenarios
from recsys_lib.core.errors import InputError
from recsys_lib.reporting.figures import serving as figures


class Answering:
    """A server that answers every third request with 503 and closes after each tenth."""

    def __init__(self):
        self.asked, self.port = 0, 0
        self._started, self._loop = threading.Event(), asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    async def _serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
                self.asked += 1
                status = b"503 No" if self.asked % 3 == 0 else b"200 OK"
                writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\nok")
                if self.asked % 10 == 0:
                    writer.close()
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _run(self):
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()

    def __enter__(self):
        self._thread.start()
        self._started.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


CONTENTS = [client.request_bytes("/x", {"n": n}) for n in range(5)]


def test_every_request_is_counted_by_its_status():
    with Answering() as server:
        found = client.open_loop(server.port, CONTENTS, np.linspace(0, 0.2, 90))
    row = found.to_row()
    assert sum(found.statuses.values()) == 90 and found.statuses[503] == 30
    assert row["answered"] == 60 == len(found.latencies) and min(found.latencies) > 0
    assert row["p50_ms"] <= row["p99_ms"] and len(row["curve_ms"]) == 101


def test_callers_ask_again_when_they_are_answered():
    with Answering() as server:
        found = client.closed_loop(server.port, CONTENTS, 1, 0.05)
        assert found.to_row()["requests"] == len(found.latencies) + found.statuses[503] + found.statuses[0]
        assert found.latencies


def test_a_server_that_is_not_there_answers_nothing():
    found = client.open_loop(1, CONTENTS, np.zeros(3))
    assert found.statuses == {0: 3} and found.to_row()["answered"] == 0


def test_an_unknown_part_is_named():
    with pytest.raises(InputError, match="'nothing' is unknown: expected one of ours"):
        serve.run(parts=["nothing"])


def row(server, scenario, **more):
    return {
        "server": server, "scenario": scenario, "load": 0.5, "rate_per_s": 50.0, "requests": 100,
        "answered": 99, "statuses": {"200": 99, "503": 1}, "p50_ms": 1.0, "throughput_per_s": 49.0,
        "p99_ms": 5.0, "p99.9_ms": 6.0, "forecast_p99_ms": 2.0, "cpu_ms_per_answer": 0.5, **more,
    }  # fmt: skip


def test_tables_read_what_the_bench_wrote():
    kills = {"server": "ours", "scenario": "kills", "kills": 3, "acknowledged": 9, "lost": 0, "twice": 0,
             "restart_s": [1.0, 3.0, 2.0]}  # fmt: skip
    names = ("poisson", "poisson again", "bursts", "swaps", "saturation")
    refit = {**kills, "scenario": "refit kills", "damaged": 1}
    record = {"rows": [*(row("ours", name) for name in names), row("b", "poisson"), kills]}
    assert figures.load_table(record).loc[("b", 0.5), "answered"] == 99
    assert figures.load_table(record).loc[("b", 0.5), "times_forecast"] == 2.5
    assert figures.processor_ms(record) == {"ours": 0.5}
    changed = figures.changes({"rows": [
        row("ours", name, statuses={"0": 2, "200": 90, "500": 3, "503": 5}) for name in names
    ]})  # fmt: skip
    assert changed.loc["bursts", ["refused", "failed"]].tolist() == [5, 5]
    assert figures.changes(record).loc["swaps", ["refused", "failed"]].tolist() == [1, 0]
    assert figures.faults(record)["restart median s"] == 2.0
    table = figures.killed({"rows": [*record["rows"], refit]})
    assert table.loc["server", "artefacts damaged"] == "-" and table.loc["refit", "artefacts damaged"] == 1
    assert table.loc["refit", "kills"] == 3 and table.columns[0] == "kills"


def test_first_lists_are_said_where_they_were_measured():
    assert figures._first_lists({"rows": [row("ours", "saturation")]}) == ""
    said = figures._first_lists({"rows": [row("ours", "new histories", cpu_ms_per_answer=0.321)]})
    assert said.endswith("a history that comes for the first time costs 0.32.")


def test_new_histories_come_once():
    contents = scenarios.new_histories(50, films=5)
    asked = [json.loads(content.split(b"\r\n\r\n")[1]) for content in contents]
    assert len({tuple(one["history"]) for one in asked}) == 50
    assert all(len(set(one["history"])) == 5 and one["k"] == 10 for one in asked)


def test_overload_is_said_with_or_without_a_bound():
    rows = [row("ours", "saturation again", throughput_per_s=50.0)]
    rows += [row("ours", "overload", refused=f, p99_ms=p) for f, p in ((0.1, 8000.0), (0.3, 500.0))]
    said = figures.overload_said({"rows": rows})
    assert said == (
        "beyond saturation (recorded before the wait was bounded): 98% to 98% of the saturation answered, "
        "p99 0.5 to 8.0 s, 10% to 30% refused with 503"
    )
    bounded = figures.overload_said({"rows": [{**one, "max_wait_s": 0.5} for one in rows]})
    assert "(at most 0.5 s of waiting are let in)" in bounded


def test_overload_and_workers_have_tables():
    many = {"statuses": {"200": 50, "503": 40, "0": 10}, "refused": 0.4}
    record = {
        "rows": [
            row("ours", "overload", load=1.5, rate_per_s=150.0, **many),
            row("ours", "after overload", refused=0.0),
            *(
                row("ours", "workers", processes=n, throughput_per_s=v)
                for n, v in ((1, 9.0), (2, 5.0), (1, 7.0))
            ),
        ]
    }
    found = figures.overload(record)
    assert found.loc["1.5", "refused"] == 0.4 and found.loc["1.5", "no answer"] == 0.1
    assert list(found.index) == ["1.5", "0.5, afterwards"]
    assert figures.workers(record)["lists a second"].to_dict() == {1: 8.0, 2: 5.0}


@pytest.mark.parametrize(
    ("plain", "words"),
    [((0.4, 0.5), "0% to 25% more"), ((0.6, 0.4), "17% less to 25% more"), ((0.625, 1.0), "20% to 50% less")],
)
def test_processor_time_is_compared_at_every_common_load(plain, words):
    rows = [row("ours", "poisson", load=load) for load in (0.3, 0.5, 0.8)]
    rows += [
        row(figures.PLAIN, "poisson", load=load, cpu_ms_per_answer=ms)
        for load, ms in zip((0.3, 0.5), plain, strict=True)
    ]
    ratios = figures.processor_ratios({"rows": rows})
    assert ratios == pytest.approx({0.3: 0.5 / plain[0], 0.5: 0.5 / plain[1]})
    assert figures._more(ratios) == words


def compared(ratio, own, other):
    """A record of both servers of lists: saturations, and (rate, p99) of each at increasing loads."""
    kills = {"server": "ours", "scenario": "kills", "kills": 2, "restart_s": [0.5, 3.0]}
    rows = [kills, row("ours", "saturation", throughput_per_s=49.0 * ratio), row(figures.PLAIN, "saturation")]
    for server, points in (("ours", own), (figures.PLAIN, other)):
        for load, (rate, p99) in zip((0.3, 0.7), points, strict=True):
            rows.append(row(server, "poisson", load=load, rate_per_s=rate, p99_ms=p99))
    return {"rows": rows}


@pytest.mark.parametrize(
    ("own", "times", "verdict"),
    [
        ([(30.0, 4.0), (70.0, 10.0)], "3.0 times within 4 ms, 2.8 times within 10 ms", "met."),
        ([(30.0, 5.0), (70.0, 9.0)], "0.0 times within 4 ms, 2.8 times within 10 ms", "met at 70% only."),
        ([(30.0, 5.0), (70.0, 11.0)], "0.0 times within 4 ms, 1.2 times within 10 ms", "missed."),
        ([(70.0, 1.0), (30.0, 5.0)], "7.0 times within 4 ms, 2.8 times within 10 ms", "met."),
    ],
)
def test_goals_are_held_against_the_record(own, times, verdict):
    restart, lists = figures.goals(compared(2.5, own, [(10.0, 4.0), (25.0, 10.0)]))
    assert "after 0.5 to 3.0 s (1.8 in the median), in time 1 of 2 times: the goal is missed." in restart
    assert f"At 30%, 70% of its saturation the recorded rates give {times}; at saturation 2.50 times" in lists
    assert lists.endswith(f"The goal is {verdict}")


def test_loads_of_few_requests_are_counted():
    rows = [row("ours", "poisson", requests=n) for n in (9_999, 10_000, 20_000)]
    assert figures.requests_said({"rows": rows}).startswith("1 of 3 loads were measured on fewer than 10,000")
    assert "their p99.9 rests on a few" in figures.requests_said({"rows": rows})
    assert "every p99.9 rests on ten or more" in figures.requests_said({"rows": rows[1:]})
    assert figures.load_table({"rows": rows})["requests"].tolist() == [9_999, 10_000, 20_000]


@pytest.mark.parametrize("requests", [40])
def test_every_load_has_all_its_requests(requests):
    class Server(Answering):
        def wait(self, *arguments):
            return 0.0

        def cpu_s(self):
            return 1.0

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scenarios, "SATURATION_S", 0.05)
        rows = scenarios.under_load("x", Server, CONTENTS, requests, (0.01, 0.9))
    assert [r["requests"] for r in rows if r["scenario"] == "poisson"] == [requests, requests]


def test_merges_are_measured_for_every_number_of_shards(monkeypatch):
    monkeypatch.setattr(scenarios, "REPEATS", 2)
    rows = scenarios.merges(queries=3, k=2)
    assert [r["shards"] for r in rows] == list(scenarios.SHARDS)
    assert all(r["median_s"] > 0 and len(r["samples"]) == 2 for r in rows)
    assert {(r["scenario"], r["queries"], r["k"]) for r in rows} == {("merge", 3, 2)}
