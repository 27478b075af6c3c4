"""Tables and takeaways of the notebooks on quantization, from their results and the recorded studies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from recsys_lib.core import records
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
        f"{codes:.2f} of the nearest items; dequantized, the same codes keep {decoded:.3f}.",
        f"**int8 certifies its lists.** Its bound leaves {float(certified.loc['int8', 'scored']):.1%} of the "
        "items to score in float32, and the list is float32's; with 4 bits and fewer the bound rules out "
        "next to nothing.",
        f"**Exact search of {largest:,} books** takes {1e3 * exact['query_s']:.1f} ms with certified int8; "
        f"the graph takes {1e3 * graph['query_s']:.1f} ms and misses {1 - graph['recall']:.0%} of the best "
        "ten.",
    ]
