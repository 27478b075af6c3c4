"""Records of ``bench`` by instruction set: the best baseline counts, and what is missing says so."""

import pytest

from recsys_lib.benchmarks import baselines
from recsys_lib.core import paths, records
from recsys_lib.core.errors import InputError
from recsys_lib.reporting import bench_tables
from recsys_lib.reporting.bench_tables import NOT_MEASURED, Target

SIZE = "1 x 269,862 x 384"


def row(instructions, baseline, ours_s, baseline_s, limit_s=1.0, **more):
    return {
        "instructions": instructions, "workload": "exact int8", "size": SIZE, "ours_s": ours_s,
        "baseline": baseline, "baseline_s": baseline_s, "ratio": baseline_s / ours_s, "limit_s": limit_s,
        "fraction_of_limit": limit_s / ours_s, "quality": "", **more,
    }  # fmt: skip


BENCH = {
    "runs": {"AVX2": {"date": "2026-11-02"}, "AMX": {}, "AVX2, old": {"date": "2026-11-01"}},
    "rows": [
        row("AVX2", "slow", 2.0, 9.0),
        row("AVX2", "fast", 2.0, 5.0),
        row("AVX2", "graph", 2.0, 0.1, part="graphs"),
        row("AMX", "slow", 1.0, 12.0, 0.5),
        row("AVX2, old", "fast", 5.0, 5.0),
    ],
}


def test_the_best_baseline_of_each_instruction_sets_latest_run_is_shown():
    (cells,) = bench_tables.side_by_side(BENCH).to_dict("index").values()
    assert cells == dict.fromkeys(bench_tables.COLUMNS, NOT_MEASURED) | {"AVX2": "2.5 fast", "AMX": "12 slow"}
    later = BENCH | {"runs": BENCH["runs"] | {"AVX2, old": {"date": "2026-11-30"}}}
    assert bench_tables.side_by_side(later).iloc[0]["AVX2"] == "1 fast"
    assert bench_tables.side_by_side(BENCH, apart=()).iloc[0]["AVX2"] == "0.05 graph"


@pytest.mark.parametrize(
    ("target", "baselines", "avx2", "amx"),
    [
        (2.5, (), "2.5 (at most 5): met", "12 (at most 24): met"),
        (4.0, (), "2.5 (at most 5): missed", "12 (at most 24): met"),
        (30.0, (), "2.5 (at most 5): beyond the bound, 50% of it",
         "12 (at most 24): beyond the bound, 50% of it"),
        (4.5, ("slow",), "4.5 (at most 9): met", "12 (at most 24): met"),
        (0.5, (bench_tables.BOUND,), "0.5 of it: met", "0.5 of it: met"),
        (0.6, (bench_tables.BOUND,), "0.5 of it: missed", "0.5 of it: missed"),
        (1.0, ("none",), NOT_MEASURED, NOT_MEASURED),
    ],
)  # fmt: skip
def test_a_target_is_held_against_the_rows_that_count(target, baselines, avx2, amx):
    asked = [Target("exact", "search", "exact int8", "1 x 269,862", target, baselines)]
    (found,) = bench_tables.targets(asked, lambda name: BENCH).to_dict("records")
    assert (found["AVX2"], found["AMX"], found["NEON"]) == (avx2, amx, NOT_MEASURED)


def test_a_baseline_that_nothing_holds_is_not_judged_beside_a_held_run():
    held = {"held": {"RECSYS_ISA": "avx2"}, "date": "2026-11-30"}
    rows = [row("AVX2", "onnxruntime int8", 1.0, 0.8), row("AVX2", "compile", 1.0, 1.2),
            row("AVX2", "openvino float32", 1.0, 0.9)]  # fmt: skip
    bench = {"runs": {"AVX2": held}, "rows": rows}
    assert bench_tables.side_by_side(bench).iloc[0]["AVX2"] == "1.2 compile"
    free = {"runs": {"AVX2": held | {"held": {}}}, "rows": rows}
    assert bench_tables.side_by_side(free).iloc[0]["AVX2"] == "0.8 onnxruntime int8"
    for against, said in (
        ((), "1.2 (at most 1.2): met"),
        (("openvino",), "0.9 (at most 0.9): openvino was not held"),
    ):
        asked = [Target("exact", "search", "exact int8", "1 x 269,862", 1.0, against)]
        assert bench_tables.targets(asked, lambda name: bench).iloc[0]["AVX2"] == said


def test_a_target_is_held_against_the_latest_run_of_its_instructions():
    runs = {"AVX2": {"date": "2026-11-01"}, "AVX2, new": {"date": "2026-11-30"}}
    rows = [row("AVX2", "fast", 2.0, 5.0), row("AVX2, new", "fast", 1.0, 5.0)]
    asked = [Target("exact", "search", "exact int8", "1 x 269,862", 1.0)]
    found = bench_tables.targets(asked, lambda name: {"runs": runs, "rows": rows})
    assert found.iloc[0]["AVX2"] == "5 (at most 5): met"


def test_baselines_of_less_fidelity_do_not_count():
    poor, fair = (
        f"cosine worst 0.99700, mean 0.9; baseline's cosine worst {w}, mean 0.9" for w in (0.97, 0.99)
    )
    rows = [row("AVX2", "poor", 1.0, 1.5, quality=poor), row("AVX2", "fair", 1.0, 4.0, quality=fair)]
    target = Target("int8", "search", "exact int8", "1 x", 1.0, fidelity=0.99)
    assert [r["baseline"] for r in target.rows({"rows": rows}, "AVX2")] == ["fair"]


def test_every_target_names_rows_of_a_record():
    """A work that was renamed would be "not measured" for ever."""
    made = {"encode long"}  # since 2026-11-27
    for target in bench_tables.TARGETS:
        rows = records.read(paths.MEASUREMENTS / f"{target.bench}-bench.json")["rows"]
        found = [r for r in rows if r["workload"] == target.workload and target.size in r["size"]]
        assert found or target.workload in made | {"one bit"}, target


def test_rows_recorded_before_they_were_kept_apart_belong_to_their_processor():
    old = {"rows": [{"ratio": 2.0}], "environment": {"flags": ["avx2", "amx_int8"]}, "date": "2026-11-25"}
    rows, runs = baselines.by_instructions(old)
    assert rows == [{"instructions": "AMX", "ratio": 2.0}]
    assert runs == {"AMX": {"date": "2026-11-25", "environment": old["environment"]}}
    assert baselines.by_instructions(BENCH) == (BENCH["rows"], BENCH["runs"])
    assert {baselines.instructions_of([f]) for f in ("avx_vnni", "asimddp", "sse")} == {
        "AVX-VNNI", "NEON", "portable",
    }  # fmt: skip


def test_a_bench_that_was_not_recorded_is_told():
    with pytest.raises(InputError, match=r"^no-such-bench.json: cannot be read"):
        bench_tables.recorded("no-such")


def test_the_latest_run_with_all_instructions_is_not_held():
    rows = [{"instructions": name} for name in ("AMX", "AVX2", "AVX-512 VNNI")]
    runs = {
        "AMX": {"date": "2026-11-26"},
        "AVX2": {"date": "2026-11-29", "held": {"RECSYS_ISA": "avx2"}},
        "AVX-512 VNNI": {"parts": {"signs": "2026-11-28T01:02:03+00:00"}, "held": {}},
    }
    assert bench_tables.not_held({"rows": rows, "runs": runs}) == "AVX-512 VNNI"
    assert bench_tables.not_held({"rows": rows, "runs": {}}) == "AMX"
    assert bench_tables.not_held({"rows": rows[1:2], "runs": runs}) == "AVX2"


def test_every_kind_of_processor_says_what_was_recorded_on_it(monkeypatch):
    environment = {"processor": "Intel(R) Xeon(R) Processor", "cores_logical": 2, "flags": ["amx_int8"]}
    parts = {"ceilings": {"date": "2026-11-25", "environment": environment}}
    bench = {
        "runs": {
            "AMX": {"environment": environment, "parts": {"signs": "2026-11-24T01:02:03+00:00"}},
            "AVX2": {"environment": environment, "date": "2026-11-26", "held": {"RECSYS_ISA": "avx2"}},
        },
        "rows": [],
    }
    monkeypatch.setattr(bench_tables.record, "records", lambda: {"mine": parts})
    monkeypatch.setattr(bench_tables, "recorded", lambda name: bench)
    found = bench_tables.by_processor(["search"])
    assert list(found.index) == list(bench_tables.COLUMNS) == list(bench_tables.PROCESSORS)
    assert found.loc["AMX", "measure"] == "Intel Xeon, 2 cores, 2026-11-25"
    assert found.loc["AMX", "bench search"] == "Intel Xeon, 2 cores, 2026-11-24"
    assert found.loc["AVX2", "bench search"] == "Intel Xeon, 2 cores, 2026-11-26, held"
    assert set(found.loc["NEON", ["measure", "bench search"]]) == {NOT_MEASURED}


def test_the_range_of_exact_search_takes_the_faster_codes_and_the_latest_run():
    rows = [
        row("AVX2", "NumPy", 2.0, 5.0), row("AVX2", "faiss", 2.0, 9.0),
        row("AVX2", "NumPy", 1.0, 5.0) | {"workload": "exact int4"},
        row("AMX", "torch", 1.0, 8.0), row("AVX2, old", "torch", 1.0, 99.0),
        row("AMX", "graph", 1.0, 0.1, part="graphs"),
    ]  # fmt: skip
    assert bench_tables.exact_range(BENCH | {"rows": rows}, "269,862") == (5.0, 8.0)


def test_the_readmes_name_the_range_of_the_record():
    low, high = bench_tables.exact_range(bench_tables.recorded("search"), "269,862")
    readme, chinese = ((paths.ROOT / name).read_text("utf-8") for name in ("README.md", "README.zh-CN.md"))
    assert f"has {low:.1f} to {high:.0f} times the best library's speed" in readme
    assert f"{low:.1f} 至 {high:.0f} 倍" in chinese
