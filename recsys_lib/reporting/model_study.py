"""The recorded study of smaller models (notebook 09) as tables, and how far a new run agrees with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recsys_lib.core import records
from recsys_lib.encoders import native
from recsys_lib.reporting import bench_tables, workload_tables
from recsys_lib.reporting.tables import two_digits

if TYPE_CHECKING:
    import pandas as pd

# Columns of numbers below 1, compared as they are; others are compared as ratios.
RELATIVE = ("perplexity",)


@dataclass(frozen=True, eq=False)
class ModelStudy:
    """What ``make study`` recorded: quality by number of bits, layers, scales and parts, and speed and memory
    by path.

    encoders: by encoder, and decoder: quality, a row (method, bits). ladders: by model, the cosine, a row per
    kind of scale. lost, outlying: by model, ``[layer, place]``. parts, paths, memory: a row each. speed: rows
    of ``speeds``. processors: texts per second, ``[instruction set, precision]``.
    """

    encoders: dict[str, pd.DataFrame]
    decoder: pd.DataFrame
    ladders: dict[str, pd.DataFrame]
    lost: dict[str, pd.DataFrame]
    outlying: dict[str, pd.DataFrame]
    parts: pd.DataFrame
    paths: pd.DataFrame
    memory: pd.DataFrame
    speed: pd.DataFrame
    processors: pd.DataFrame
    parameters: dict[str, Any]
    machine: str

    def at_shape(self, length: int, batch: int) -> pd.DataFrame:
        """Rows of ``speed`` for texts of ``length`` tokens, ``batch`` at once, by path."""
        chosen = (self.speed["length"] == length) & (self.speed["batch"] == batch)
        return self.speed[chosen].set_index("path")

    def speed_ratios(self, base: str = "torch float32") -> pd.DataFrame:
        """``speed_ratios`` of the recorded speeds, ``[path, (length, batch)]``."""
        return speed_ratios(self.speed, base)

    def weight_only(self, ratios: pd.DataFrame) -> pd.DataFrame:
        """The rows of ``speed_ratios`` whose paths keep only weights in fewer bits."""
        return ratios[ratios.index.str.endswith("-weight")]


def read(name: str = "model-quantization-study") -> ModelStudy:
    """The tables of the study ``name`` in ``data/measurements/``: runs without paths measured quality, the
    one with paths speed and memory.
    """
    import pandas as pd

    runs = records.measurements(name)
    quality = {r["parameters"]["encoder"]: r["metrics"] for r in runs if not r["parameters"]["paths"]}
    timed = next(r for r in runs if r["parameters"]["paths"])
    first = next(r for r in runs if r["parameters"]["decoder_bits"])
    environment, metrics = timed["environment"], timed["metrics"]
    here = "AMX (2023)" if "amx_int8" in environment["flags"] else environment["processor"]
    processors = pd.DataFrame(metrics["processors"]).set_index("name").astype(float)
    processors = processors.rename({"this processor": here})
    return ModelStudy(
        encoders={n: by_bits(pd.DataFrame(m["encoder_bits"])) for n, m in quality.items()},
        decoder=by_bits(pd.DataFrame(first["metrics"]["decoder_bits"])),
        ladders={n: pd.DataFrame(t).T for m in quality.values() for n, t in m["ladders"].items()},
        lost={n: _by_layer(m["sensitivity"]) for n, m in quality.items()},
        outlying={n: _by_layer(t) for m in quality.values() for n, t in m["outlying"].items()},
        parts=pd.DataFrame(metrics["parts"]).set_index("name"),
        paths=pd.DataFrame(metrics["paths"]).set_index("name"),
        memory=pd.DataFrame(metrics["memory"]).T,
        speed=pd.DataFrame(metrics["speed"]),
        processors=processors[list(native.PRECISIONS)],
        parameters=first["parameters"],
        machine=f"{environment['processor']}, {environment['cores_logical']} cores",
    )


def _by_layer(table: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """A recorded map ``{place: {layer: value}}`` as a table, with layers as numbers."""
    import pandas as pd

    found = pd.DataFrame(table)
    return found.set_axis(found.index.astype(int), axis=0)


def by_bits(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``encoder_bits`` or ``decoder_bits`` under (method, bits)."""
    return table.set_index(["method", "bits"])


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of quality as they are printed: three decimals, differences and perplexities by their significant
    digits.
    """
    differences = [column for column in ("low", "high") if column in table]
    printed = table.round(3).assign(**two_digits(table[differences].astype(float)))
    if "perplexity" in table:
        printed["perplexity"] = table["perplexity"].map("{:#.3g}".format)
    return printed


def reproducible(table: pd.DataFrame) -> pd.DataFrame:
    """The rows (method, bits) that are the same on every processor: GPTQ solves equations whose last digits
    differ.
    """
    return table[table.index.get_level_values("method") != "GPTQ"]


def agreement(now: pd.DataFrame, then: pd.DataFrame, tolerances: Mapping[str, float]) -> tuple[str, bool]:
    """How many rows were computed here and recorded, and whether they differ by less than the tolerance of
    each column: a sentence, and whether at least two rows do.

    now, then: by (method, bits). Perplexities are compared as ratios.

    >>> import pandas as pd
    >>> rows = pd.MultiIndex.from_tuples([("float32", 32), ("nearest", 4)])
    >>> then = pd.DataFrame({"ndcg": [0.139, 0.137]}, index=rows)
    >>> agreement(then + 0.001, then, {"ndcg": 0.002})
    ('2 rows computed here and recorded: all within 0.002 (ndcg)', True)
    """
    if not tolerances:
        return "other parameters than the recorded ones: nothing to compare", True
    shared = now.index.intersection(then.index)
    said, agree = [], len(shared) > 1
    for column, tolerance in tolerances.items():
        a, b = now.loc[shared, column], then.loc[shared, column]
        apart = ((a / b - 1) if column in RELATIVE else (a - b)).abs().max()
        agree &= bool(apart < tolerance)
        said.append(f"{'all' if apart < tolerance else 'NOT all'} within {tolerance:g} ({column})")
    return f"{len(shared)} rows computed here and recorded: {', '.join(said)}", agree


def comparable(run: Mapping[str, Any], recorded: Mapping[str, Any]) -> dict[str, float]:
    """The tolerance of every column of ``decoder_bits`` that two runs with these parameters share: rankings
    need the same films, perplexity the same texts.
    """
    if any(run[name] != recorded[name] for name in ("decoder", "groups", "seed")):
        return {}
    tolerances: dict[str, float] = {}
    if run["decoder_films"] == recorded["decoder_films"]:
        tolerances |= {"ndcg": 0.002, "cosine": 0.002}
    if run["decoder_tokens"] == recorded["decoder_tokens"]:
        tolerances["perplexity"] = 0.01
    return tolerances


def speed_ratios(speed: pd.DataFrame, base: str) -> pd.DataFrame:
    """Tokens per second of every path over those of ``base`` at the same length and batch:
    a row a path, a column ``(length, batch)``.
    """
    rates = speed.pivot_table(index="path", columns=["length", "batch"], values="tokens per s", sort=False)
    return rates / rates.loc[base]


def paths_table(
    study: ModelStudy, full: tuple[int, int] = (32, 64), one: tuple[int, int] = (8, 1)
) -> pd.DataFrame:
    """Every recorded path: quality, thousands of tokens per second in a full batch, milliseconds for one
    text, and in how many cells it is slower than eager torch in float32.

    full, one: (tokens of a text, texts at once).
    """
    slower = (study.speed_ratios() < 1).sum(axis=1)
    shown = study.paths[["ndcg", "low", "high", "cosine", "worst"]].assign(
        **{
            "ktokens per s": study.at_shape(*full)["tokens per s"] / 1e3,
            "ms, one text": 1e3 * study.at_shape(*one)["s"],
            "cells slower": slower,
        }
    )
    digits = {"ndcg": 3, "low": 3, "high": 3, "cosine": 4, "worst": 4, "ktokens per s": 1, "ms, one text": 1}
    return shown.round(digits)


def choice(study: ModelStudy) -> pd.DataFrame:
    """The fastest precision of the native path for each instruction set, of those that rank like float32
    within chance: its speed over float32's, the fraction of NDCG it keeps and its megabytes in memory.
    """
    of = {p: study.paths.loc[f"native {p}"] for p in study.processors.columns}
    allowed = [p for p, row in of.items() if row["high"] >= 0]
    found = study.processors[allowed]
    table = found.idxmax(axis=1).rename("precision").to_frame()
    table["times float32"] = found.max(axis=1) / study.processors["float32"]
    table["NDCG kept"] = [of[p]["ndcg"] / of["float32"]["ndcg"] for p in table["precision"]]
    table["MB in memory"] = [study.memory.loc[f"native {p}", "resident_MB"] for p in table["precision"]]
    return table.round({"times float32": 1, "NDCG kept": 3, "MB in memory": 0})


def ms_per_token(sizes: pd.DataFrame, bytes_per_second: Mapping[str, float] | None = None) -> pd.DataFrame:
    """The least milliseconds in which a decoder writes a token, since every token reads every weight once:
    ``[precision, machine]``.

    sizes: megabytes, ``[part, precision]``; bytes_per_second: memory bandwidth by machine;
    without it that of the recorded machines.
    """
    import pandas as pd

    if bytes_per_second is None:
        ceilings = workload_tables.recorded_ceilings()
        bytes_per_second = {name: found.read_bytes_per_s for name, found in ceilings.items()}
    return pd.DataFrame({name: 1e9 * sizes.sum() / rate for name, rate in bytes_per_second.items()})


def encode_bench(
    columns: Sequence[str] = ("workload", "size", "baseline", "ratio", "fraction_of_limit", "quality"),
) -> tuple[pd.DataFrame, str]:
    """The rows of ``bench encode`` as recorded last with all instructions of a processor, and when and where
    that was.
    """
    import pandas as pd

    bench = bench_tables.recorded("encode")
    name = bench_tables.not_held(bench)
    run = {"date": bench["date"], "environment": bench["environment"], **bench["runs"].get(name, {})}
    environment = run["environment"]
    where = f"{run['date']}, {environment['processor']}, {environment['cores_logical']} cores"
    rows = [row for row in bench["rows"] if row["instructions"] == name]
    return pd.DataFrame(rows)[list(columns)], where
