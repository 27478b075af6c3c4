"""The records of ``bench`` by instruction set, side by side: ratios against the best baseline, and targets.

A ratio is the baseline's time over ours, in one interleaved run with equal threads. What was not measured
says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recsys_lib.benchmarks import baselines
from recsys_lib.benchmarks.workloads import record
from recsys_lib.core import paths, records
from recsys_lib.vectors.search import kernel

if TYPE_CHECKING:
    import pandas as pd

Bench = dict[str, Any]
NOT_MEASURED = "not measured"
# Columns, oldest instructions first.
COLUMNS = tuple(name for name in kernel.INSTRUCTIONS if name != "portable")
# Parts whose baselines look at some of the items only, or whose catalogues have other sizes.
APART = ("graphs", "growth")
BOUND = "its bound"
# The least worst cosine of a baseline that encodes the same texts at all: held to AVX2, some give NaN.
SOUND = 0.9
# Baselines whose products choose their instructions by what the processor says it has, which no variable
# changes: beside a run that is held to fewer they still use all. OpenVINO obeys in part: its float32 products
# and its layer normalization do not.
UNHELD = ("onnxruntime", "openvino")


def recorded(name: str) -> Bench:
    """The record of ``bench name``; every row names its instruction set.

    Raises:
        InputError: there is none.
    """
    content = records.read(paths.MEASUREMENTS / f"{name}-bench.json")
    rows, runs = baselines.by_instructions(content)
    return {**content, "rows": rows, "runs": runs}


def side_by_side(bench: Bench, size: str = "", apart: Sequence[str] = APART) -> pd.DataFrame:
    """One row per work and size, one column per instruction set: the ratio of its latest run against the best
    baseline, with its name, as "2.0 NumPy".

    size: what the sizes to show contain. apart: parts to leave out. Baselines whose vectors are wrong do not
    count, nor in a run that was held to fewer instructions those of ``UNHELD``.
    """
    import pandas as pd

    best: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    latest = {_latest(bench, name): name for name in COLUMNS}
    for row in bench["rows"]:
        name = latest.get(row["instructions"])
        if name is None or size not in row["size"] or not _counts(row, apart) or _unheld(bench, row):
            continue
        cells = best.setdefault((row["workload"], row["size"]), {})
        known = cells.get(name)
        if known is None or row["baseline_s"] < known["baseline_s"]:
            cells[name] = row
    shown = {work: {name: _cell(cells.get(name)) for name in COLUMNS} for work, cells in best.items()}
    return pd.DataFrame(shown).T.rename_axis(["work", "size"])


def exact_range(bench: Bench, size: str) -> tuple[float, float]:
    """The least and the largest ratio of certified search against the best baseline: of the latest run with
    each instruction set and each number of queries, by whichever codes are faster there.
    """
    latest = {_latest(bench, name) for name in COLUMNS}
    best: dict[tuple[str, str], dict[str, float]] = {}
    rows = [row for row in bench["rows"] if row["instructions"] in latest and size in row["size"]]
    for row in rows:
        if row["workload"].startswith("exact") and _counts(row) and not _unheld(bench, row):
            ratios = best.setdefault((row["instructions"], row["size"]), {})
            ratios[row["workload"]] = min(ratios.get(row["workload"], row["ratio"]), row["ratio"])
    found = [max(ratios.values()) for ratios in best.values()]
    return min(found), max(found)


def not_held(bench: Bench) -> str:
    """The instructions of the latest run that was held to none; of the latest run where all were."""
    names = {row["instructions"] for row in bench["rows"]}
    runs = {name: bench["runs"].get(name, {}) for name in names}
    free = {name: run for name, run in runs.items() if not _held(run)} or runs
    return max(free, key=lambda name: (_date(free[name]), _columns(bench).index(name)))


def _unheld(bench: Bench, row: Mapping[str, Any]) -> bool:
    """Whether a row's run was held, and its baseline was not."""
    held = _held(bench["runs"].get(row["instructions"], {}))
    return held and row["baseline"].startswith(UNHELD)


def _latest(bench: Bench, instructions: str) -> str:
    """The name of the latest run with these instructions, on whichever processor."""
    names = [name for name in _columns(bench) if name.split(",")[0] == instructions]
    return max(names, key=lambda name: (_date(bench["runs"].get(name, {})), name == instructions))


def _held(run: Mapping[str, Any]) -> bool:
    return bool(run.get("held", {}).get("RECSYS_ISA"))


def _date(run: Mapping[str, Any]) -> str:
    """The day on which a run, or the last of its parts, was recorded."""
    return str(run["date"]) if "date" in run else max(run.get("parts", {}).values(), default="")[:10]


def _cell(row: Mapping[str, Any] | None) -> str:
    return NOT_MEASURED if row is None else f"{_short(row['ratio'])} {row['baseline']}"


def _short(ratio: float) -> str:
    """Two significant digits, and no more: a ratio of 5 as "5", one of 122 as "120".

    >>> _short(5.0), _short(0.8612), _short(122.4)
    ('5', '0.86', '120')
    """
    return f"{float(f'{ratio:.2g}'):g}"


def _columns(bench: Bench) -> list[str]:
    """All instruction sets, and runs on further processors with one of them, as "AVX2, processor"."""
    return [*COLUMNS, *(name for name in bench["runs"] if name not in COLUMNS)]


# Processors of readers, by the best instructions of the search kernel that they have.
PROCESSORS = {
    "NEON": "Apple M1, AWS Graviton2 and later",
    "AVX2": "Intel from 2013, AMD Zen 1 to 3",
    "AVX-VNNI": "Intel Alder Lake and later",
    "AVX-512 VNNI": "Intel Ice Lake, AMD Zen 4 and 5",
    "AMX": "Intel Sapphire Rapids and later",
}


def by_processor(benches: Iterable[str] = ("search", "encode", "recommend")) -> pd.DataFrame:
    """What was recorded on which kind of processor: the workloads of ``measure``, and each of ``bench``.

    One row per instruction set of the kernels, oldest first; a cell names the processor and the day, and says
    "held" where a newer processor was held to these instructions.
    """
    import pandas as pd

    found: dict[str, dict[str, list[str]]] = {name: {} for name in COLUMNS}
    for parts in record.records().values():
        part = max(parts.values(), key=lambda p: p["date"])
        name = baselines.instructions_of(part["environment"]["flags"])
        found.get(name, {}).setdefault("measure", []).append(_run(part["environment"], part["date"]))
    for bench in benches:
        for run, conditions in recorded(bench)["runs"].items():
            held = ", held" if _held(conditions) else ""
            says = _run(conditions["environment"], _date(conditions)) + held
            found.get(run.split(",")[0], {}).setdefault(f"bench {bench}", []).append(says)
    columns = ["measure", *(f"bench {name}" for name in benches)]
    return pd.DataFrame(
        {
            name: {"processors": PROCESSORS[name]}
            | {c: "; ".join(found[name].get(c, [])) or NOT_MEASURED for c in columns}
            for name in COLUMNS
        }
    ).T.rename_axis("instructions")


def _run(environment: Mapping[str, Any], date: str) -> str:
    short = environment["processor"].replace("(R)", "").replace("(TM)", "").replace(" Processor", "")
    return f"{short}, {environment['cores_logical']} cores, {date}"


# ---------------------------------------------------------------- targets


@dataclass(frozen=True)
class Target:
    """A ratio to reach against the best of some baselines of one work.

    bench, workload, size: what rows; ``size`` is contained in theirs. baselines: those whose name begins with
    one of these; empty for all; ``BOUND`` for the bound of the work. ratio: to reach. fidelity: the least
    worst cosine of a baseline that counts.
    """

    says: str
    bench: str
    workload: str
    size: str
    ratio: float
    baselines: tuple[str, ...] = ()
    fidelity: float = SOUND

    def rows(self, bench: Bench, instructions: str) -> list[dict[str, Any]]:
        """The rows that count."""
        return [
            row
            for row in bench["rows"]
            if row["instructions"] == instructions
            and row["workload"] == self.workload
            and self.size in row["size"]
            and (self.baselines in ((), (BOUND,)) or row["baseline"].startswith(self.baselines))
            and _counts(row, fidelity=self.fidelity)
        ]


def _counts(row: Mapping[str, Any], apart: Sequence[str] = APART, fidelity: float = SOUND) -> bool:
    """Whether a row is of the parts to compare, and its baseline's vectors are near enough."""
    return row.get("part") not in apart and _worst_cosine(row["quality"]) >= fidelity


def _worst_cosine(quality: str) -> float:
    """Of a baseline's vectors, where its quality is told; 1 where it is not."""
    _, told, rest = quality.partition("baseline's cosine worst ")
    return float(rest.split(",")[0]) if told else 1.0


def _queries(says: str, workload: str, ratios: Mapping[int, float]) -> list[Target]:
    return [
        Target(f"{says}, {n:,} {'query' if n == 1 else 'queries'}", "search", workload, f"{n} x 269,862", r)
        for n, r in ratios.items()
    ]


EQUAL = dict.fromkeys((1, 64, 1024), 1.0)
TARGETS = (
    *_queries("certified exact, 4 bits read first", "exact int4", {1: 4.5}),
    *_queries("certified exact", "exact int8", {64: 2.5, 1024: 1.3}),
    Target("int8 rescored, 1 query", "search", "int8 rescored", "1 x 269,862", 1 / 1.5, (BOUND,)),
    # The same time, of a bound that reads half as many bytes.
    Target("int8 rescored, 4 bits read first, 1 query", "search", "int4 rescored", "1 x 269,862", 1 / 3,
           (BOUND,)),
    *_queries("signs", "signs", EQUAL),
    *_queries("4-bit product codes", "pq 4 bits", EQUAL),
    *_queries("one bit, rescored", "one bit", EQUAL),
    Target("4,096 titles, float32", "encode", "encode", "float32", 1.0, ("openvino",)),
    Target("4,096 titles, float32", "encode", "encode", "float32", 1.4, ("sentence-transformers",)),
    Target("4,096 titles, int8", "encode", "encode", "int8", 3.0, ("sentence-transformers",)),
    Target("4,096 titles, int8, equal fidelity", "encode", "encode", "int8", 1.5,
           ("openvino", "onnxruntime", "torchao"), 0.99),
    Target("one short query, int8", "encode", "one query", "int8", 1.0, ("onnxruntime",)),
    Target("texts of 256 tokens, float32", "encode", "encode long", "float32", 1.0),
    Target("texts of 256 tokens, int8", "encode", "encode long", "int8", 1.0,
           ("openvino", "onnxruntime", "torchao")),
    Target("ItemKNN fit, 13,000 items", "recommend", "fit ItemKNN", "13,231", 1.0),
)  # fmt: skip


def targets(asked: Iterable[Target] = TARGETS, read: Callable[[str], Bench] = recorded) -> pd.DataFrame:
    """Each target with its ratio, and by instruction set what its latest run reached: "4.9 (at most 6.2):
    met".

    "At most" is the ratio at the bound of the work: the products of its codes or numbers at the measured peak
    of these instructions, or what it must read at the measured bandwidth, whichever takes longer. The bound
    itself as baseline is the fraction of it that is reached. A ratio against a baseline of ``UNHELD`` beside
    a run that was held is shown and not judged.
    """
    import pandas as pd

    benches: dict[str, Bench] = {}
    rows = []
    for target in asked:
        bench = benches.setdefault(target.bench, read(target.bench))
        against = " ".join(target.baselines) if len(target.baselines) == 1 else "best"
        found = {name: _reached(target, bench, target.rows(bench, _latest(bench, name))) for name in COLUMNS}
        rows.append({"work": target.says, "target": target.ratio, "against": against, **found})
    return pd.DataFrame(rows).set_index(["work", "against"])


def _reached(target: Target, bench: Bench, rows: list[dict[str, Any]]) -> str:
    if not rows:
        return NOT_MEASURED
    row = min([r for r in rows if not _unheld(bench, r)] or rows, key=lambda r: r["baseline_s"])
    if target.baselines == (BOUND,):
        reached = row["fraction_of_limit"]
        return f"{_short(reached)} of it: {'met' if reached >= target.ratio else 'missed'}"
    allowed = row["baseline_s"] / row["limit_s"] if row["limit_s"] else float("inf")
    says = f"{_short(row['ratio'])} (at most {_short(allowed)})"
    if _unheld(bench, row):
        return f"{says}: {row['baseline'].split()[0]} was not held"
    return f"{says}: {verdict(target.ratio, row['ratio'], allowed)}"


def verdict(target: float, ratio: float, allowed: float) -> str:
    """What a ratio is beside a target and what the bound allows.

    >>> verdict(1.0, 1.2, 3.0), verdict(4.5, 2.9, 3.0), verdict(4.5, 2.0, 3.0), verdict(1.0, 0.9, 3.0)
    ('met', 'beyond the bound, 97% of it', 'beyond the bound, 67% of it', 'missed')
    """
    if ratio >= target:
        return "met"
    return f"beyond the bound, {ratio / allowed:.0%} of it" if allowed < target else "missed"
