"""What notebook 15 finds, in sentences: every number comes from its tables, its live runs or the records.

Tables with an index that begins with ``machine`` hold every recorded machine; sentences are about the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from recsys_lib.benchmarks.workloads import record
from recsys_lib.cost.units import two_digits
from recsys_lib.hardware import machine
from recsys_lib.hardware.load_patterns import Result
from recsys_lib.hardware.timing import MemoryUse
from recsys_lib.reporting.takeaways_00_to_03 import bullets
from recsys_lib.reporting.workload_tables import lightly_loaded, scenarios, stages

# The encoder with both backends, and its name in the record of serving when our C runs it.
ENCODER, NATIVE = "minilm", "minilm, native, int8"


def span(values: pd.Series, unit: str = "") -> str:
    """The range of some positive numbers with two significant digits, or the one number that all of them
    round to.

    >>> span(pd.Series([1.12, 14.32])), span(pd.Series([127.4, 130.1]), " ms")
    ('1.1 to 14', '130 ms')
    """
    low, high = (two_digits(v) for v in (values.min(), values.max()))
    return f"{low}{unit}" if low == high else f"{low} to {high}{unit}"


def _first(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the first machine."""
    return table.xs(table.index[0][0], level="machine")


# ---------------------------------------------------------------- live


def live_path(
    cold_s: Mapping[str, float],
    single: Result,
    whole: Result,
    loads: Mapping[float, Result],
    limit_ms: float,
    memory: MemoryUse,
) -> str:
    """The three scenarios as they just ran, one line each.

    cold_s: seconds of each part of the start; single, whole: of the single stream and offline; loads: of the
    server, by the fraction of the stream's rate; memory: while a batch was answered.
    """
    ms = {name: 1e3 * getattr(single.latency, name) for name in ("first", "p50", "p90", "p99")}
    lines = [
        "cold start, s: " + ", ".join(f"{part} {seconds:.2f}" for part, seconds in cold_s.items()),
        f"single stream, ms: first {ms['first']:.1f}, p50 {ms['p50']:.1f}, p90 {ms['p90']:.1f}, "
        f"p99 {ms['p99']:.1f}",
        "stages, p50 in ms: " + ", ".join(f"{name} {1e3 * m.p50:.2f}" for name, m in single.stages.items()),
        f"offline: {whole.throughput:.0f} requests per second",
    ]
    for load, busy in loads.items():
        p50, p99 = 1e3 * busy.latency.p50, 1e3 * busy.latency.p99
        verdict = "within" if p99 <= limit_ms else "beyond"
        lines.append(
            f"server at {busy.target_per_s:.0f} per second ({load:.0%} of the stream's rate): p50 {p50:.1f}, "
            f"p99 {p99:.1f} ms, {verdict} {limit_ms:.0f} ms"
        )
    lines.append(f"peak memory: process {memory.peak / 1e6:.0f} MB, GPU {memory.device_peak / 1e6:.0f} MB")
    return "\n".join(lines)


def live_point(point: Mapping[str, Any], rows: list[dict[str, Any]], name: str) -> str:
    """A point timed now beside the same point in the record of machine ``name``, and which instructions of
    that machine this one lacks.
    """
    keys = ("workload", "model", "precision", "shape")
    now = point["measurement"]["p50"]
    said = (
        f"{point['model']}, {point['shape']['batch']} texts of {point['shape']['tokens']} tokens in "
        f"{point['precision']}: {1e3 * now:.1f} ms now, {point['operations'] / now / 1e9:.0f} Gop/s"
    )
    same = [r for r in rows if r["machine"] == name and all(r[key] == point[key] for key in keys)]
    if not same:
        return said
    then = same[0]["measurement"]["p50"]
    flags = record.records()[name]["points"]["environment"]["flags"]
    lacks = [flag for flag in flags if flag not in machine.describe()["flags"]]
    return f"{said}\n{name}: {1e3 * then:.1f} ms recorded; instructions that are missing here: " + (
        ", ".join(lacks) or "none"
    )


def live_energy(used: Mapping[str, Any]) -> str:
    """Joules per 1,000 requests with their range, the method, and what the rated power counts."""
    joules = [1e3 * used[key] / used["n"] for key in ("joules", "low_joules", "high_joules")]
    return (
        f"now: {joules[0]:.2f} J per 1,000 requests ({joules[1]:.2f} to {joules[2]:.2f}), by "
        f"{used['method']}, cores {used['utilization']:.0%} busy; {used['power_counts']}"
    )


# ---------------------------------------------------------------- findings


def serving(rows: list[dict[str, Any]]) -> str:
    """Findings of the recorded scenarios, ``rows`` as ``record.rows_of("serving")`` gives them."""
    table, spent, light = (_first(make(rows)) for make in (scenarios, stages, lightly_loaded))
    after = spent["search"] + spent["rank"]
    rates = table["sustained per s"]
    simulated = (table["simulated per s"] / rates)[rates > 0]
    lines = [
        f"**Search and rank** {rows[0]['items']:,} films in {span(after, ' ms')}; the slowest encoder takes "
        f"{two_digits(spent['encode'].max() / spent['encode'].min())} times as long as the fastest."
    ]
    if {ENCODER, NATIVE} <= set(table.index):
        eager, ours = table.loc[ENCODER], table.loc[NATIVE]
        lines.append(
            f"**Backend and precision**: {ENCODER} in our own C in 8 bits takes "
            f"{ours['p50 ms'] / eager['p50 ms']:.0%} of the p50 of eager torch in {eager['precision']} and "
            f"sustains {ours['sustained per s'] / eager['sustained per s']:.1f} times its rate."
        )
    lines += [
        f"**A lightly loaded server is slower per request**: at {light['load'].mean():.0%} of the stream's "
        f"rate its p50 is {span(light['ratio'])} times the stream's.",
        "**Simulated rate over sustained rate**: "
        + "; ".join(f"{name} {ratio:.2f}" for name, ratio in simulated.items())
        + ".",
    ]
    none = list(rates.index[rates == 0])
    limit_ms = 1e3 * rows[0]["limit_s"]
    return bullets(
        lines + [f"**Within {limit_ms:.0f} ms at no rate that was tried**: {'; '.join(none)}."] * bool(none)
    )


def _alone(bounds: pd.DataFrame, workload: str, precision: str, batch: int = 1) -> pd.DataFrame:
    """The points of one workload, precision and batch, by model."""
    shapes = bounds["shape"].str.startswith(f"{batch} batch")
    kept = bounds[(bounds["workload"] == workload) & (bounds["precision"] == precision) & shapes]
    return kept.set_index(["model", "shape"])


def roofline(bounds: pd.DataFrame, peak: float) -> str:
    """Where the time goes: times over bounds and ratios of times, on the first machine.

    bounds: as ``workload_tables.bounds`` gives it; peak: operations per second of its float32.
    """
    at = bounds[bounds["machine"] == bounds["machine"].iloc[0]]
    over = "time / bound"
    eager, native = (_alone(at, work, "bfloat16") for work in ("encode", "encode, native"))
    gains = [
        _alone(at, "encode", "float32", n)["median ms"] / _alone(at, "encode", "bfloat16", n)["median ms"]
        for n in (1, 64)
    ]
    tokens = [_alone(at, "decode", p) for p in ("float32", "bfloat16")]
    scans = {p: _alone(at, "scan", p).iloc[0] for p in ("float32", "bfloat16", "int8", "binary")}
    sixty = _alone(at, "scan", "float32", 64).iloc[0]
    smaller = scans["binary"]["op/B"] / scans["float32"]["op/B"]
    faster = scans["float32"]["median ms"] / scans["binary"]["median ms"]
    lines = [
        f"**{(bounds[over] >= 1).sum()} of {len(bounds)} points** take at least the time of their bound.",
        f"**One text in eager torch** takes {span(eager[over])} times its bound in bfloat16, "
        f"in our own C {span(native[over])} times.",
        f"**Bfloat16 pays with large batches**: {span(gains[0])} times as fast as float32 at batch 1, "
        f"{span(gains[1])} times at batch 64. SmolLM2's next token takes "
        f"{span(tokens[1]['median ms'] / tokens[0]['median ms'])} times as long in bfloat16 as in float32, "
        f"moving {span(tokens[0]['op/B'] / tokens[1]['op/B'])} times the bytes.",
        "**One query's search**, time over bound: "
        + ", ".join(f"{p} {row[over]:.1f}" for p, row in scans.items())
        + f". Binary codes are {smaller:.0f} times smaller than float32 and {faster:.1f} times as fast.",
        f"**Sixty-four float32 queries** reach {sixty['Gop/s']:.0f} Gop/s; float32's peak is "
        f"{peak / 1e9:.0f}.",
        f"**EASE's fit** takes {span(at.loc[at['workload'] == 'EASE fit', over])} times its bound.",
    ]
    return bullets(lines)


def published(
    parameters: pd.DataFrame, memory: pd.DataFrame, held: pd.DataFrame, decoding: pd.DataFrame
) -> str:
    """How the counted sizes compare with the published and the measured ones; of ``workload_tables``."""
    exact = (parameters["within"] <= 0.01).sum()
    same = (held["counted bytes"] == held["held bytes"]).sum()
    low = (decoding["time / bound"] >= 1).sum()
    lines = [
        f"**Parameters**: {exact} of {len(parameters)} models within 1% of what is published, the others "
        "within their publishers' rounding.",
        f"**Published checkpoints and caches**: {len(memory)}, which differ from the counted bytes by at "
        f"most {_largest_error(memory):.2%}.",
        f"**Weights and caches on recorded machines**: {same} of {len(held)} have exactly the counted bytes.",
        f"**Published times**: {low} of {len(decoding)} are at least their bound.",
    ]
    return bullets(lines)


def _largest_error(table: pd.DataFrame) -> float:
    return float((table["ratio"] - 1).abs().max())


def sizes(sized: pd.DataFrame, context: int) -> str:
    """What a compressed cache and experts change: three models of ``workload_tables.sizes``."""
    gpt3, deepseek, llama = (sized.loc[name] for name in ("gpt-3", "deepseek-v3", "llama-3-405b"))
    caches = gpt3["cache, GB"], deepseek["cache, GB"]
    larger = deepseek["parameters, B"] / llama["parameters, B"]
    fewer = llama["GFLOP per token"] / deepseek["GFLOP per token"]
    lines = [
        f"**Cache** of {context:,} tokens: GPT-3 {caches[0]:.1f} GB, DeepSeek-V3 {caches[1]:.2f} GB, "
        f"{caches[0] / caches[1]:.0f} times less.",
        f"**Operations**: DeepSeek-V3 has {larger:.1f} times the parameters of Llama 405B and "
        f"{fewer:.0f} times fewer operations per token.",
    ]
    return bullets(lines)


def growth(grown: pd.DataFrame, rows: list[dict[str, Any]]) -> str:
    """Measured exponents of time beside the counted ones, and what threads gain.

    grown: ``workload_tables.exponents``; rows: the series that it was made of.
    """
    one = _first(grown)
    sized = one.drop(index="threads", level="against")
    below = sized["time"] < sized["time expected"]
    above = [
        f"{w} {row['time']:.2f} (counted {row['time expected']:.2f})"
        for (w, _), row in sized[~below].iterrows()
    ]
    lowest = sized["time"].idxmin()
    ease = one.loc[("EASE fit", "items")]
    threads = next(r for r in rows if r["against"] == "threads")
    medians = [m["p50"] for m in threads["measurements"]]
    lines = [
        f"**{below.sum()} of {len(sized)} exponents of time** lie below the counted ones, lowest "
        f"{lowest[0]}: {sized.loc[lowest, 'time']:.2f}. Above: {'; '.join(above) or 'none'}.",
        f"**EASE's fit** grows with its items to the power {ease['time']:.1f}; its operations with "
        f"{ease['time expected']:.1f}.",
        f"**{threads['sizes'][-1]} threads** encode {medians[0] / medians[-1]:.1f} times as fast as "
        f"{threads['sizes'][0]}.",
    ]
    return bullets(lines)


def training_ratios(trained: pd.DataFrame) -> dict[str, float]:
    """How many fits of EASE an epoch of SASRec and a step of fine-tuning take.

    trained: ``workload_tables.phases``.
    """
    total = _first(trained)["total"]
    ease, sasrec, step = (
        total[next(name for name in total.index if name.startswith(start))]
        for start in ("EASE", "SASRec", "fine-tuning")
    )
    return {"SASRec": sasrec / ease, "fine-tuning": step / ease}


def takeaways(
    served: list[dict[str, Any]],
    bounds: pd.DataFrame,
    sizing: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame],
    trained: pd.DataFrame,
    energy: pd.DataFrame,
) -> str:
    """The takeaways of notebook 15.

    served: rows of the recorded serving; bounds: of ``workload_tables.bounds``; sizing: published parameters,
    published memory, memory held by tensors; trained, energy: of ``phases`` and ``energy``.
    """
    table, spent = _first(scenarios(served)), _first(stages(served))
    fraction = spent["encode"] / spent.sum(axis=1)
    ratio, nearest = bounds["time / bound"], bounds.loc[bounds["time / bound"].idxmin()]
    single = pd.concat([_alone(bounds, "encode", p) for p in ("float32", "bfloat16")])["time / bound"]
    parameters, memory, held = sizing
    same, costs = (held["counted bytes"] == held["held bytes"]).sum(), training_ratios(trained)
    methods = ", ".join(sorted(set(energy["method"])))
    rates = [
        f"{name} {row['offline per s']:,.0f} offline and {row['sustained per s']:,.0f} sustained"
        for name, row in table.loc[[n for n in (ENCODER, NATIVE) if n in table.index]].iterrows()
    ]
    lines = [
        f"**The encoder decides the latency.** It takes {fraction[ENCODER]:.0%} of a request with {ENCODER} "
        f"in eager torch, search and rank {span(spent['search'] + spent['rank'], ' ms')}. Medians of "
        "the single stream, in ms: "
        + "; ".join(f"{name} {two_digits(row['p50 ms'])}" for name, row in table.iterrows())
        + ".",
        f"**{(ratio >= 1).sum()} of {len(ratio)} points take at least the time of their bound**, half of "
        f"them more than {ratio.median():.1f} times that. Nearest is {nearest['workload']} in "
        f"{nearest['precision']} ({nearest['shape']}) at {ratio.min():.2f} times; "
        f"encoders of one text in eager torch take {span(single)} times theirs.",
        "**Throughput offline is not the rate a server sustains** within "
        f"{1e3 * served[0]['limit_s']:.0f} ms, in requests per second: {'; '.join(rates)}.",
        f"**A configuration is enough to size a model**: {len(parameters)} models within their publishers' "
        f"rounding, {same} of {len(held)} sets of tensors with exactly the counted bytes, published "
        f"checkpoints and caches within {_largest_error(memory):.2%}.",
        f"**Training by gradient is expensive, collaborative filtering is cheap**: an epoch of SASRec takes "
        f"as long as {costs['SASRec']:.0f} fits of EASE, one step of fine-tuning MiniLM "
        f"{costs['fine-tuning']:.1f}.",
        f"**Energy** is known by: {methods}."
        + (" This machine's counters cannot be read." if methods == "model" else ""),
    ]
    return bullets(lines)
