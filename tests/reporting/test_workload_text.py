"""Findings and tables of notebook 15 on made-up records."""

import pandas as pd
import pytest

from recsys_lib.benchmarks.workloads import language
from recsys_lib.cost import hardware
from recsys_lib.hardware import machine
from recsys_lib.hardware.load_patterns import Result
from recsys_lib.hardware.timing import Measurement, MemoryUse
from recsys_lib.reporting import workload_tables, workload_text

STAGES = {"tokenize": 0.001, "encode": 0.006, "search": 0.002, "rank": 0.001}


def result(scenario, seconds, rate=None, p99=None):
    """A scenario in which every request takes ``seconds``, the last one ``p99``."""
    samples = (*[seconds] * 9, p99 or seconds)
    stages = {name: Measurement(name, (s,), s) for name, s in STAGES.items()}
    return Result(scenario, 10, 0.1, Measurement("latency", samples, 0.05), stages, rate)


def served(encoder, seconds, tried, predicted):
    """A row of the recorded serving; tried: p50 and p99 by rate."""
    scenarios = [result("single stream", seconds), result("offline", seconds)]
    scenarios += [result("server", p50, rate, p99) for rate, (p50, p99) in tried.items()]
    return {
        "machine": "here", "encoder": encoder, "precision": "bfloat16", "items": 1682, "limit_s": 0.1,
        "predicted_rate_per_s": predicted, "stored_bytes": {"model": 1e6}, "peak_process_bytes": 1e6,
        "peak_device_bytes": 0, "scenarios": [one.to_dict() for one in scenarios],
    }  # fmt: skip


@pytest.fixture
def rows():
    return [
        served("minilm", 0.01, {20.0: (0.015, 0.05), 40.0: (0.02, 0.09)}, 30.0),
        served("minilm, native, int8", 0.002, {100.0: (0.004, 0.05)}, 110.0),
        served("smollm2", 0.1, {2.0: (0.2, 0.4)}, 0.0),
    ]


@pytest.fixture
def bounds():
    """Every point that the findings name: 10 ms in float32, 5 in other precisions, twice its bound."""
    workloads = {"encode": "minilm", "encode, native": "minilm", "scan": "index", "decode": "smollm2"}
    found = [
        {
            "machine": "here", "workload": workload, "model": model, "precision": precision,
            "shape": f"{batch} batch × 16 tokens", "median ms": 10.0 if precision == "float32" else 5.0,
            "op/B": {"float32": 1.0, "bfloat16": 2.0, "int8": 4.0, "binary": 32.0}[precision],
            "Gop/s": 450.0, "time / bound": 2.0,
        }
        for workload, model in workloads.items()
        for precision in ("float32", "bfloat16", "int8", "binary")
        for batch in (1, 64)
    ]  # fmt: skip
    ease = {"machine": "here", "workload": "EASE fit", "precision": "float32", "shape": "9 items"}
    return pd.DataFrame([*found, ease | {"time / bound": 4.0, "model": "EASE"}])


def trained():
    rows = [
        {"machine": "here", "model": model, "unit": "epoch", "phases_s": {"backward": seconds}}
        for model, seconds in (("EASE", 0.1), ("SASRec", 2.0), ("fine-tuning minilm", 0.4))
    ]
    return workload_tables.phases(rows)


def test_the_lowest_rate_is_the_lightly_loaded_one(rows):
    found = workload_tables.lightly_loaded(rows).loc[("here", "minilm")]
    assert found.to_dict() == pytest.approx(
        {"load": 0.2, "server p50 ms": 15.0, "stream p50 ms": 10.0, "ratio": 1.5}
    )


def test_findings_of_serving(rows):
    said = workload_text.serving(rows)
    assert "**Search and rank** 1,682 films in 3.0 ms" in said
    assert "takes 20% of the p50 of eager torch in bfloat16 and sustains 2.5 times its rate" in said
    assert "at 20% of the stream's rate its p50 is 1.5 to 2.0 times the stream's" in said
    assert "minilm 0.75; minilm, native, int8 1.10." in said
    assert "**Within 100 ms at no rate that was tried**: smollm2." in said
    assert "at no rate" not in workload_text.serving(rows[:1])


def test_findings_under_the_roofline(bounds):
    said = workload_text.roofline(bounds, 400e9)
    assert "**33 of 33 points**" in said
    assert "takes 2.0 times its bound in bfloat16, in our own C 2.0 times" in said
    assert "2.0 times as fast as float32 at batch 1" in said
    assert "takes 0.50 times as long in bfloat16 as in float32, moving 0.50 times the bytes" in said
    assert "Binary codes are 32 times smaller than float32 and 2.0 times as fast" in said
    assert "reach 450 Gop/s; float32's peak is 400" in said and "takes 4.0 times its bound" in said


def test_findings_of_growth():
    sizes = [1, 2, 4]
    powers = {("EASE fit", "items"): (2, 3), ("encode", "tokens"): (2, 1), ("encode", "threads"): (-1, -1)}
    rows = [
        {
            "machine": "here", "workload": workload, "against": against, "sizes": sizes,
            "measurements": [{"p50": float(n) ** took} for n in sizes],
            "expected": [float(n) ** counted for n in sizes], "bytes": [0, 0, 0], "expected_bytes": [],
        }
        for (workload, against), (took, counted) in powers.items()
    ]  # fmt: skip
    said = workload_text.growth(workload_tables.exponents(rows), rows)
    assert "**1 of 2 exponents of time** lie below" in said and "Above: encode 2.00 (counted 1.00)." in said
    assert "to the power 2.0; its operations with 3.0" in said
    assert "**4 threads** encode 4.0 times as fast as 1" in said


def test_sizes_and_what_was_published():
    sized = workload_tables.sizes(("gpt-3", "deepseek-v3", "llama-3-405b"), 2048)
    said = workload_text.sizes(sized, 2048)
    assert "GPT-3 9.7 GB" in said and "1.7 times the parameters of Llama 405B" in said
    parameters = pd.DataFrame({"within": [0.01, 0.05]})
    held = pd.DataFrame({"counted bytes": [8.0, 4.0], "held bytes": [8, 5]})
    ratios = pd.DataFrame({"ratio": [1.0, 0.998], "time / bound": [1.2, 0.9]})
    said = workload_text.published(parameters, ratios, held, ratios)
    for part in ("1 of 2 models within 1%", "at most 0.20%", "1 of 2 have exactly", "1 of 2 are at least"):
        assert part in said


def test_takeaways_follow_the_records(rows, bounds):
    held = pd.DataFrame({"counted bytes": [8.0], "held bytes": [8]})
    sizing = (pd.DataFrame({"within": [0.01]}), pd.DataFrame({"ratio": [1.001]}), held)
    model = pd.DataFrame({"method": ["model"]})
    lines = workload_text.takeaways(rows, bounds, sizing, trained(), model).splitlines()
    assert len(lines) == 6 and all(line.startswith("* **") for line in lines)
    assert "It takes 60% of a request with minilm in eager torch, search and rank 3.0 ms" in lines[0]
    assert (
        "minilm 100 offline and 40 sustained; minilm, native, int8 100 offline and 100 sustained" in lines[2]
    )
    assert (
        "within 0.10%" in lines[3] and "as long as 20 fits of EASE" in lines[4] and "MiniLM 4.0" in lines[4]
    )
    assert "counters cannot be read" in lines[5]
    counter = workload_text.takeaways(rows, bounds, sizing, trained(), model.assign(method="rapl"))
    assert "rapl" in counter and "cannot be read" not in counter


def test_what_was_live_is_said_line_by_line():
    loads = {0.3: result("server", 0.02, 30.0), 0.6: result("server", 0.02, 60.0, 0.3)}
    single, whole = result("single stream", 0.01), result("offline", 0.01)
    memory = MemoryUse(0, 5_000_000)
    lines = workload_text.live_path({"data": 0.5}, single, whole, loads, 100.0, memory).splitlines()
    assert lines[0] == "cold start, s: data 0.50" and lines[3] == "offline: 100 requests per second"
    assert lines[4].startswith("server at 30 per second (30% of the stream's rate): p50 20.0")
    assert lines[4].endswith("within 100 ms") and lines[5].endswith("beyond 100 ms")
    assert lines[6] == "peak memory: process 5 MB, GPU 0 MB"
    used = {"joules": 2.0, "low_joules": 1.0, "high_joules": 4.0, "n": 1000, "method": "model"}
    said = workload_text.live_energy(used | {"utilization": 0.5, "power_counts": "2 cores"})
    assert said == "now: 2.00 J per 1,000 requests (1.00 to 4.00), by model, cores 50% busy; 2 cores"


def test_a_live_point_stands_beside_its_record(monkeypatch):
    point = {"workload": "encode", "model": "minilm", "precision": "bfloat16", "operations": 1e9}
    point |= {"shape": {"batch": 64, "tokens": 16}, "measurement": {"p50": 0.1}}
    then = point | {"machine": "there", "measurement": {"p50": 0.02}}
    environment = {"points": {"environment": {"flags": ["avx2", "amx_bf16"]}}}
    monkeypatch.setattr(workload_text.record, "records", lambda: {"there": environment})
    monkeypatch.setattr(workload_text.machine, "describe", lambda: {"flags": ["avx2"]})
    said = workload_text.live_point(point, [then], "there")
    assert "bfloat16: 100.0 ms now, 10 Gop/s" in said
    assert said.endswith("there: 20.0 ms recorded; instructions that are missing here: amx_bf16")
    assert "recorded" not in workload_text.live_point(point, [], "there")


def test_bounds_of_random_weights_keep_what_was_not_measured_apart():
    roof = machine.Ceilings({"bfloat16": hardware("h100-sxm").operations_per_s("bfloat16")}, 1e12, 1e12, ())
    rows = [{"machine": "here", "workload": "encode, random weights", "model": "minilm"}]
    rows[0]["measurement"] = {"p50": 0.01}
    found = workload_tables.random_weight_bounds(rows, "here", roof)
    assert list(found.index) == list(language.SIZES)
    assert found.loc["minilm", "measured ms, here"] == 10.0
    assert found["measured ms, here"].isna().sum() == len(language.SIZES) - 1
    assert (found["bound ms, here"] >= found["bound ms, h100-sxm by data sheet"]).all()


def test_operations_are_those_of_torch():
    found = workload_tables.operations_by_torch((("minilm", 4, 1, False),))
    assert found.loc["minilm", "ratio"] == 1 and found.loc["minilm", "tokens"] == 4
