"""Tables and takeaways of the notebooks on quantization, from their results and the recorded studies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib.core import paths, records
from recsys_lib.experiments import cold_ranking

if TYPE_CHECKING:
    import pandas as pd

# Pairs of about equal bytes: all numbers in fewer bits, and fewer numbers.
EQUAL_BYTES = {
    "a quarter of float32": ("int8", "pca 1/4"),
    "an eighth": ("int4", "pca 1/8"),
    "an eighth, int8": ("int4", "pca 1/2, int8"),
    "a thirtieth": ("binary", "pca 1/32"),
    "a thirtieth, int8": ("binary", "pca 1/8, int8"),
}
# How a recorded cold study is named by its parameters.
DATASETS = {"ml-100k": "films", "book-crossing": "books"}


def recorded_quality(name: str = "quantization-study") -> pd.DataFrame:
    """Rows of ``quality`` of every recorded run, by dataset, encoder, geometry and stored."""
    import pandas as pd

    tables = []
    for run in records.measurements(name):
        named = {name: run["parameters"][name] for name in ("dataset", "encoder")}
        tables.append(pd.DataFrame(run["metrics"]["quality"]).assign(**named))
    return pd.concat(tables).set_index(["dataset", "encoder", "geometry", "stored"]).sort_index()


def recorded_cold(
    notebook: str, metric: str = "cold", name: str = "cold-bits-study"
) -> dict[str, pd.DataFrame]:
    """Tables of ``cold_ranking.corrected`` in a recorded study, one for each run of ``notebook``.

    Named by data set, map and draws, as "films, kernel map, 5 draws".
    Each has the NDCG of the unchanged vectors in ``attrs["reference"]``.
    """
    import pandas as pd

    found = {}
    for run in records.measurements(name):
        if run["notebook"] != notebook:
            continue
        p, rows = run["parameters"], pd.DataFrame(run["metrics"][metric])
        rows = rows.set_index("name") if "name" in rows else rows
        rows.attrs["reference"] = run["metrics"].get("cold_float32")
        found[f"{DATASETS[p.get('dataset', 'ml-100k')]}, {p['cold_map']} map, {p['cold_draws']} draws"] = rows
    return found


def recorded_searches(name: str = "search-study") -> pd.DataFrame:
    """Rows of ``vector_compression.searches`` of every recorded run, with query_ms."""
    import pandas as pd

    found = pd.concat(
        [pd.DataFrame(run["metrics"]["searches"]) for run in records.measurements(name)], ignore_index=True
    )
    return found.assign(query_ms=1e3 * found["query_s"])


def recorded_encode_ms(path: str = "torch float32") -> float:
    """Milliseconds to encode one text of 8 tokens with MiniLM on ``path``, as recorded by notebook 09."""
    for run in records.measurements("model-quantization-study"):
        for row in run["metrics"].get("speed", ()):
            if (row["path"], row["length"], row["batch"]) == (path, 8, 1):
                return 1e3 * row["s"]
    return float("nan")


def recorded_models(name: str = "model-quantization-study") -> tuple[dict[str, Any], dict[str, Any]]:
    """Metrics of the recorded runs of notebook 09: of quality by encoder, and of speed and memory."""
    runs = records.measurements(name)
    quality = {r["parameters"]["encoder"]: r["metrics"] for r in runs if not r["parameters"]["paths"]}
    return quality, next(r["metrics"] for r in runs if r["parameters"]["paths"])


def depth_for(found: pd.DataFrame, enough: float) -> str:
    """The first depth (column) at which each row of ``found`` reaches ``enough``, in words."""
    said = []
    for name, row in found.iterrows():
        depth = next((d for d in found.columns if row[d] >= enough), None)
        said.append(f"{name} {depth if depth is not None else f'over {found.columns[-1]}'}")
    return ", ".join(said)


def bits_or_numbers(grid: pd.DataFrame, best: pd.Series) -> pd.DataFrame:
    """Mean fraction of NDCG kept by fewer bits and by fewer numbers at equal bytes, and how often bits win.

    grid: ``recorded_quality``; best: geometry of each (dataset, encoder).
    """
    import pandas as pd

    chosen = pd.concat({key: grid.loc[(*key, g)] for key, g in best.items()})
    rows = {}
    for label, (bits, numbers) in EQUAL_BYTES.items():
        a, b = (chosen.xs(name, level=2) for name in (bits, numbers))
        rows[label] = {
            "fewer bits": bits, "fewer numbers": numbers, "bits keep": a["ndcg_kept"].mean(),
            "numbers keep": b["ndcg_kept"].mean(), "bits win": int((a["ndcg"] > b["ndcg"]).sum()),
        }  # fmt: skip
    return pd.DataFrame(rows).T


def repayment(recorded: pd.DataFrame) -> pd.DataFrame:
    """What an index saves per query against certified search, what it loses, and when its build is repaid."""
    import pandas as pd

    at = recorded.set_index(["items", "search"])
    rows = {}
    for items, name in at.index:
        if name in ("HNSW", "IVF"):
            saved = at.loc[(items, "int8 exact"), "query_s"] - at.loc[(items, name), "query_s"]
            rows[items, name] = {
                "saved per query (ms)": 1e3 * saved,
                "lost of the best 10 (%)": 100 * (1 - at.loc[(items, name), "recall"]),
                "queries to repay": at.loc[(items, name), "build_s"] / saved if saved > 0 else np.inf,
            }  # fmt: skip
    return pd.DataFrame(rows).T.round(2)


def smallest_within(table: pd.DataFrame) -> str:
    """The method with the fewest bytes within the margin, as "int4 (196 bytes)"; "none" without one."""
    within = list(cold_ranking.equivalent_rows(table))
    if not within:
        return "none"
    name = table.loc[within, "code_bytes"].astype(float).idxmin()
    return f"{name} ({table.loc[name, 'code_bytes']:.0f} bytes)"


def vector_takeaways(
    at: pd.DataFrame,
    fraction: pd.Series,
    cold: Mapping[str, pd.DataFrame],
    nearest: pd.DataFrame,
    certified: pd.DataFrame,
    recorded: pd.DataFrame,
    encoder: str,
) -> list[str]:
    """The takeaways of notebook 08 from its tables, one sentence or two each.

    at: ``quality`` by geometry and stored; fraction: NDCG kept on each data set and encoder, ``[dataset,
    encoder, stored]``; cold: ``recorded_cold``; nearest: ``loss_by_part``; certified: of ``rescoring``;
    recorded: of ``searches``.
    """
    kept = fraction.groupby(level=2)
    low, high = kept.min(), kept.max()
    spans = {n: f"{low[n]:.1%} to {high[n]:.1%}" for n in ("int8", "int4", "pq, 1 bit", "binary")}
    times = recorded.set_index(["search", "items"])
    largest = max(n for n in recorded["items"] if n < 300_000)
    exact, graph = times.loc[("int8 exact", largest)], times.loc[("HNSW", largest)]
    gain = at.loc[("zca", "float32"), "ndcg"] / at.loc[("raw", "float32"), "ndcg"]
    codes, decoded = (
        nearest.loc[n, (encoder, "raw")] for n in ("codes as they are", "the same codes, dequantized")
    )
    lines = [
        f"**Warm items**: int8 keeps {spans['int8']} of NDCG@10 on the best geometry of each data set and "
        f"encoder, int4 {spans['int4']}, a codebook at one bit per number {spans['pq, 1 bit']}, the sign "
        f"{spans['binary']}.",
    ]
    for name, table in cold.items():
        worse = [str(n) for n, row in table.iterrows() if row["conclusion"] == "worse"]
        lines.append(
            f"**Cold items, {name}**: the fewest bytes within 1% of float32's NDCG are "
            f"{smallest_within(table)}; worse: {', '.join(worse) or 'none'}."
        )
    return [
        *lines,
        f"**Geometry comes before bits.** Whitening multiplies {encoder}'s warm NDCG@10 by {gain:.1f}.",
        f"**The published loss of int8 is mostly no loss of bits.** Codes compared as they are keep "
        f"{codes:.0%} of the nearest items; dequantized, the same codes keep {decoded:.1%}.",
        f"**int8 certifies its lists.** Its bound leaves {float(certified.loc['int8', 'scored']):.1%} of the "
        "items to score in float32, and the list is float32's; with 4 bits and fewer the bound rules out "
        "next to nothing.",
        f"**Exact search of {largest:,} books** takes {1e3 * exact['query_s']:.1f} ms with certified int8; "
        f"the graph takes {1e3 * graph['query_s']:.1f} ms and misses {1 - graph['recall']:.0%} of the best "
        "ten.",
    ]


def recorded_bench(name: str) -> tuple[pd.DataFrame, str]:
    """A recorded comparison with baselines, and when and where it ran.

    Columns: work, size, baseline, ratio (the baseline's time over ours), fraction (of the roofline), quality.
    Rows of one work keep the order of the record: baselines of the same precision first.
    """
    import pandas as pd

    record = records.read(paths.MEASUREMENTS / f"{name}.json")
    table = pd.DataFrame(record["rows"]).rename(columns={"peer": "baseline", "share_of_limit": "fraction"})
    where = record["environment"]
    load = record.get("load") or 0
    shared = f" · shared machine, load {load:.0f}" if load > where["cores_logical"] + 1 else ""
    head = f"{record['date']} · {where['processor']} · {where['cores_logical']} cores{shared}"
    return table[["work", "size", "baseline", "ratio", "fraction", "quality"]], head


def best_baseline(against: pd.DataFrame, work: str, precision: str) -> tuple[str, float]:
    """Of the rows of ``recorded_bench`` with this work and precision, the fastest baseline and its ratio.

    Baselines of the same precision where there are any.
    """
    rows = against[(against["work"] == work) & against["size"].str.contains(f", {precision},")]
    own = rows[rows["baseline"].str.endswith(precision)]
    chosen = (own if len(own) else rows).sort_values("ratio").iloc[0]
    return str(chosen["baseline"]), float(chosen["ratio"])


def model_takeaways(
    cold_bits: pd.DataFrame,
    decoder: pd.DataFrame,
    outlying: Mapping[str, pd.DataFrame],
    processors: pd.DataFrame,
    parts: pd.DataFrame,
    against: pd.DataFrame,
    layers: str,
) -> list[str]:
    """The takeaways of notebook 09 from its tables, a sentence or two each.

    cold_bits: ``encoder_bits`` of the cold study; decoder: recorded ``decoder_bits`` by method and bits;
    outlying: of each model; processors: texts per second by instruction set and precision; parts:
    ``parts_quality`` with speeds; against: ``recorded_bench``; layers: the row with fewer layers.
    """
    from recsys_lib.reporting.figures.model_compression import fewest_bits

    factor = max(float(t.max().max()) for t in outlying.values())
    gain = processors["int8"] / processors["float32"]
    whole = float(parts.loc["whole", "cold_ndcg"])
    static = next(name for name in parts.index if name.startswith("static"))
    came, four, gptq = (
        decoder.loc[key, "perplexity"] for key in (decoder.index[0], ("nearest", 4), ("GPTQ", 4))
    )
    kept = {name: float(parts.loc[name, "cold_ndcg"]) / whole for name in (layers, static)}
    times = float(parts.loc[static, "texts per s"]) / float(parts.loc["whole", "texts per s"])
    baselines = {p: best_baseline(against, "encode", p) for p in ("float32", "int8")}
    said = ", ".join(f"{ratio:.1f} times as long in {p} ({name})" for p, (name, ratio) in baselines.items())
    return [
        f"**Bits, cold items.** The fewest bits of MiniLM's weights within 1% of float32's cold NDCG@10 are "
        f"{fewest_bits(cold_bits)}.",
        f"**Bits, decoder.** SmolLM2's perplexity is {came:.1f} as it came, {four:.1f} at 4 bits, {gptq:.1f} "
        "by GPTQ.",
        f"**Outliers decide scales.** One input channel is up to {factor:,.0f} times the median one: scales "
        "per token and per group hold where scales per batch and per channel break.",
        f"**Speed is a matter of instructions**: int8 over float32 is {gain.iloc[0]:.1f} times with "
        f"{gain.index[0]}, {gain.iloc[-1]:.1f} with AMX. The best baseline of the same precision takes "
        f"{said}.",
        f"**Removing parts costs more than removing bits.** {layers} keep {kept[layers]:.0%} of cold "
        f"NDCG@10, a static table {kept[static]:.0%} at {times:,.0f} times the speed of the whole model in "
        "float32.",
    ]
