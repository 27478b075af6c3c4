"""The table of ``bench search`` on a small catalogue: every baseline is there, and what ours claims holds.
Vectors that are no numbers.
"""

import json
import sys

import numpy as np
import pytest

from recsys_lib.benchmarks import baselines as bench
from recsys_lib.benchmarks.baselines import bench_encode, bench_search
from recsys_lib.core import paths
from recsys_lib.core.errors import InputError
from recsys_lib.experiments import vector_compression as compression
from recsys_lib.hardware import timing
from recsys_lib.reporting import bench_tables
from recsys_lib.vectors import similarity
from recsys_lib.vectors.search import kernel

# Minutes in all: `make check` leaves them out, `make test` runs them.
pytestmark = pytest.mark.slow


@pytest.fixture
def small(one_sample, monkeypatch):
    rng = np.random.default_rng(0)
    vectors = similarity.normalize(rng.standard_normal((700, 32)).astype(np.float32))
    monkeypatch.setattr(compression, "book_vectors", lambda **_: (vectors[:600], vectors[600:610]))
    monkeypatch.setattr(kernel, "CACHED", 0)
    monkeypatch.setattr(bench_search, "BATCHES", (1, 10))
    monkeypatch.setattr(bench_search, "SLOW_BATCHES", (1,))
    monkeypatch.setattr(bench_search, "GROWTH", (300, 900))
    monkeypatch.setattr(bench_search, "KINDS", bench_search.KINDS | {
        "pq 8 bits": ("pq", {"subspaces": 4}, "PQ4"),
        "pq 4 bits": ("pq", {"subspaces": 8, "bits": 4}, "PQ8x4fs"),
    })  # fmt: skip


def test_every_kind_meets_its_baseline_and_exact_search_is_exact(small):
    rows = [row for _, part in bench_search.search_rows() for row in part]
    kinds = {"exact int8", "exact int4", "int8 rescored", "int4 rescored", "one bit", *bench_search.KINDS}
    assert kinds == {r.workload for r in rows}
    baselines = {
        "faiss Flat",
        "NumPy",
        "torch",
        "faiss SQ8, refined",
        "faiss RaBitQfs, refined",
        "faiss SQ8",
        "faiss SQ4",
        "faiss binary Flat",
        "faiss PQ8x4fs",
        "faiss HNSW",
        "faiss IVF",
    }
    assert baselines <= {r.baseline for r in rows}
    exact = [r for r in rows if r.workload.startswith("exact")]
    assert all("of the best 10 100.00%" in r.quality for r in exact)
    assert not any("NOT" in r.quality for r in rows)
    assert {r.size.split(" x ")[1] for r in exact} == {"600", "300", "900"}
    assert all(r.ratio == pytest.approx(r.baseline_s / r.ours_s) and r.limit_s > 0 for r in rows)


def test_some_parts_replace_theirs_in_the_record(small, tmp_path):
    record = tmp_path / "record.json"
    bench.run("search", record, ["int8", "signs"])
    first = json.loads(record.read_text())
    bench.run("search", record, ["signs"])
    second = json.loads(record.read_text())
    assert [r["part"] for r in second["rows"]] == [r["part"] for r in first["rows"]]
    (run,), (before,) = second["runs"].values(), first["runs"].values()
    assert list(run["parts"]) == ["int8", "signs"] and run["parts"]["int8"] == before["parts"]["int8"]
    assert [r for r in second["rows"] if r["part"] == "int8"] == [
        r for r in first["rows"] if r["part"] == "int8"
    ]
    for wrong, message in ((("search", ["sines"]), "part 'sines'"), (("encode", ["int8"]), "has no parts")):
        with pytest.raises(InputError, match=message):
            bench.run(wrong[0], None, wrong[1])


def test_rows_of_other_instructions_and_processors_stay(small, tmp_path, monkeypatch):
    record, described = tmp_path / "record.json", bench.machine.describe()
    for name, processor, kind in (
        ("AVX2", "first", "1"), ("AMX", "first", "1"), ("AVX2", "second", "1"), ("AVX2", "first", "1"),
        ("AVX2", "second", "2"), ("AVX2", "second", "1"),
    ):  # fmt: skip
        here = described | {"processor": processor, "identification": kind}
        monkeypatch.setattr(bench.kernel, "instructions", lambda name=name: name)
        monkeypatch.setattr(bench.machine, "describe", lambda here=here: here)
        bench.run("search", record, ["signs"])
    content = json.loads(record.read_text())
    assert (
        set(content["runs"])
        == {"AVX2", "AMX", "AVX2, second", "AVX2, second (2)"}
        == {r["instructions"] for r in content["rows"]}
    )
    assert len({(r["instructions"], r["size"]) for r in content["rows"]}) == len(content["rows"])


def test_benches_without_parts_keep_rows_of_other_instructions(tmp_path, monkeypatch):
    record = tmp_path / "record.json"

    def once(seconds):
        return [bench.Row("fit", "1 x 2", seconds, "theirs", 4.0, 4.0 / seconds, 0.5, 0.5 / seconds, "same")]

    for name, seconds in (("AVX2", 1.0), ("AMX", 2.0), ("AVX2", 8.0)):
        monkeypatch.setattr(bench.kernel, "instructions", lambda name=name: name)
        monkeypatch.setitem(bench.BENCHES, "recommend", lambda seconds=seconds: once(seconds))
        monkeypatch.setenv("FAISS_SIMD_LEVEL", name)
        bench.run("recommend", record)
    content = json.loads(record.read_text())
    found = [(r["instructions"], r["ours_s"], r["best"]) for r in content["rows"]]
    assert found == [("AMX", 2.0, True), ("AVX2", 8.0, True)]
    assert {name: run["held"]["FAISS_SIMD_LEVEL"] for name, run in content["runs"].items()} == {
        "AVX2": "AVX2", "AMX": "AMX",
    }  # fmt: skip


def test_what_holds_baselines_to_instructions_is_set_where_the_tests_are_held_to_them():
    script = (paths.ROOT / ".ci" / "avx2").read_text(encoding="utf-8")
    assert all(f" {name}=" in script for name in bench.HOLDING)


def test_without_usearch_its_rows_are_left_out_in_one_line(small, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "usearch", None)
    monkeypatch.setattr(bench_search, "KINDS", {})
    rows = [row for _, part in bench_search.search_rows() for row in part]
    assert rows and not any("usearch" in r.baseline for r in rows)
    assert capsys.readouterr().err.splitlines() == [
        "usearch is not installed, its rows are left out: pip install -r requirements-bench.txt"
    ]


def test_the_best_baseline_of_a_work_is_marked_and_a_time_below_its_bound_is_explained():
    from recsys_lib.benchmarks.baselines import rows as bench_rows

    def timed(seconds):
        return timing.Measurement("x", (seconds,), seconds, "s", 1.0, "calls")

    times = {"ours": timed(1.0), "slow": timed(4.0), "fast": timed(2.0)}
    made = [bench_rows.row("scan", "1 x 2", name, times, 0.5, "same") for name in ("slow", "fast")]
    made.append(bench_rows.row("scan", "9 x 9", "slow", times, 3.0, "same"))
    assert [r.best for r in bench_rows.with_best(made)] == [False, True, True]
    assert [bench_rows.ABOVE in r.quality for r in made] == [False, False, True]
    lines = bench.table(made)
    assert "slow  " in lines[1] and "fast *" in lines[2] and "baseline" in lines[0]


def test_a_baseline_that_gives_no_number_is_told_and_counts_for_no_target():
    vectors = np.eye(3, 4, dtype=np.float32)
    assert bench_encode.agreement(vectors, vectors) == "cosine worst 1.00000, mean 1.00000"
    broken = np.where(vectors == 1, np.nan, vectors)[[0]].repeat(3, axis=0)
    broken[0] = 1
    says = bench_encode.agreement(broken, vectors)
    assert says == "cosine worst nan, mean nan (2 of 3 vectors are not finite)"
    assert not bench_tables._worst_cosine(f"cosine; baseline's {says}") >= 0
