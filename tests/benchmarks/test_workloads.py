"""Points, series, phases and records: counted as torch counts, fitted to known powers,
written and read back whole. Nothing is timed.
"""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from recsys_lib import cost
from recsys_lib.__main__ import main
from recsys_lib.benchmarks.workloads import (
    growth_exponents,
    language,
    points,
    record,
    timed_rows,
    training_phases,
)
from recsys_lib.benchmarks.workloads.path import ServingPath
from recsys_lib.core.errors import InputError
from recsys_lib.data import datasets
from recsys_lib.hardware import machine
from recsys_lib.hardware.timing import Measurement

# Minutes in all: `make check` leaves them out, `make test` runs them.
pytestmark = pytest.mark.slow


@pytest.fixture
def quick(monkeypatch):
    """One sample of everything: the tests look at what is counted, not at how long it takes."""
    monkeypatch.setitem(timed_rows.PROTOCOL, "min_samples", 1)
    monkeypatch.setitem(timed_rows.PROTOCOL, "min_seconds", 0.0)
    monkeypatch.setitem(growth_exponents.FEW, "min_samples", 1)
    monkeypatch.setitem(growth_exponents.FEW, "min_seconds", 0.0)


# --- The path


@pytest.fixture(scope="module")
def path():
    return ServingPath.build("wordllama", candidates=20, k=5)


def test_the_path_recommends_what_the_person_has_not_seen(path):
    stages = path.serve(range(8))
    assert list(stages) == ["encode", "search", "rank"] and all(s >= 0 for s in stages.values())
    assert path.answers.shape == (8, 5)
    for user, answer in zip(path.users[:8], path.answers, strict=True):
        assert not set(answer) & set(
            path.train.indices[path.train.indptr[user] : path.train.indptr[user + 1]]
        )
        assert len(set(answer)) == 5
    assert list(path.cold_s) == ["data", "model", "catalogue", "index", "ranker"]


def test_the_ranking_is_that_of_ease_among_the_candidates(path):
    path.serve([3])
    vectors = path.encoder.encode([path.texts[path.queries[3]]])
    seen = path.train[path.users[[3]]]
    candidates = path.index.top_k(path.centring.apply(vectors), 20, exclude=seen).ids[0]
    scores = path.ranker.scores(path.users[[3]])[0, candidates]
    best = path.ranker.scores(path.users[[3]])[0, path.answers[0]]
    assert best == pytest.approx(np.sort(scores)[::-1][:5], rel=1e-4, abs=1e-6)


def test_a_transformers_path_tokenizes_apart(monkeypatch):
    popular = datasets.load("ml-100k").k_core(40)  # fewer texts to encode
    monkeypatch.setattr(datasets, "load", lambda name: popular)
    path = ServingPath.build("minilm", precision="float32", k=3)
    assert list(path.serve([0, 1])) == ["tokenize", "encode", "search", "rank"]
    alone = [path.serve([i]) and path.answers[0].tolist() for i in (0, 1)]
    path.serve([0, 1])
    assert path.answers.tolist() == alone
    assert path.stored_bytes()["model"] == 4 * path.encoder.n_parameters
    found = record.serve_all(path, "minilm", requests=4, samples=64, limit_s=5.0, max_s=0.02, min_requests=3)
    assert {s["scenario"] for s in found["scenarios"]} == {"single stream", "offline", "server"}
    assert found["peak_process_bytes"] > found["stored_bytes"]["model"]
    json.dumps(found, allow_nan=False)


def test_rates_grow_until_the_limit_is_far_behind():
    serve = SimpleNamespace(serve=lambda requests: {})
    found, simulated = record.find_rate(
        serve, "x", SimpleNamespace(latency=Measurement("l", (1e-4,) * 9, 1.0)), 0.1, 0.001
    )
    assert [round(r.target_per_s / 1e4, 6) for r in found] == list(record.SHARES)
    # A queue of constant service at nine tenths of its capacity waits 4.5 services on average: a limit of
    # 1,000 holds.
    assert simulated == pytest.approx(1e4, rel=0.01)


def test_the_sustained_rate_is_the_last_before_the_first_that_fails():
    def tried(*p99s):
        return {
            "limit_s": 0.5,
            "scenarios": [
                {"scenario": "server", "target_per_s": r, "latency": {"p99": p}}
                for r, p in enumerate(p99s, 1)
            ],
        }

    assert record.sustained_rate(tried(0.6)) == 0.0
    assert record.sustained_rate(tried(0.1, 0.5, 0.6, 0.4)) == 2


# --- Points


@pytest.mark.parametrize(
    ("name", "prompt"), [("minilm", False), ("smollm2-135m", False), ("smollm2-135m", True)]
)
def test_operations_are_those_torch_counts(name, prompt):
    ours, torchs = points.counted_by_torch(name, tokens=9, batch=2, prompt=prompt)
    assert ours == torchs > 0


def test_points_carry_what_their_shapes_say(quick):
    (found,) = points.encode_points(("minilm",), batches=(2,), tokens=5, variants=(("torch", "float32"),))
    sized = cost.architecture("minilm")
    assert found["operations"] == cost.encode_flops(sized, 5, 2)
    assert found["measurement"]["amount"] == 2 and found["shape"] == {"batch": 2, "tokens": 5}
    (scan,) = points.scan_points(500, 16, (3,), ("int8",))
    assert scan["operations"] == 2 * 3 * 500 * 16 and scan["bytes"] == 500 * (16 + 4)
    (ease,) = points.ease_points((40,), n_users=30)
    assert ease["bytes"] == 4 * 40 * 40 and ease["operations"] > 40**3
    assert points.intensity(scan) == pytest.approx(96 / 20)


def test_a_bound_is_the_slower_of_two_and_memory_alone_without_a_peak():
    ceilings = machine.Ceilings({"int8": 100.0}, 10.0, 10.0, ())
    m = Measurement("x", (1.0,), 1.0)
    point = timed_rows.row("scan", "index", "cpu", "int8", "int8", {}, 1000.0, 50.0, m)
    assert points.bound_s(point, ceilings) == 10.0
    assert points.bound_s({**point, "compute": None}, ceilings) == 5.0


def test_interactions_are_ones_with_popular_items_first():
    train = points.interactions(300, 50, each=10)
    assert train.shape == (300, 50) and set(train.data) == {1.0}
    counts = np.asarray(train.sum(axis=0)).ravel()
    assert counts[:5].sum() > counts[-5:].sum()


def test_generation_holds_the_cache_that_is_counted(quick):
    found = language.generation_points((4,), (6,), (1, 2), ("float32",))
    assert [p["workload"] for p in found] == ["prefill", "decode", "decode"]
    sized = cost.architecture("smollm2-135m")
    assert found[0]["operations"] == cost.prefill_flops(sized, 4, skip_masked=True)
    # The new token is taken out again: what stays is the context before it.
    assert found[2]["memory_bytes"]["cache"] == cost.kv_cache_bytes(sized, 5, 2, "float32")


def test_random_weights_take_the_bytes_that_are_counted(quick):
    (found,) = language.random_points(("minilm",), tokens=4, batch=2, precision="bfloat16")
    assert found["memory_bytes"]["weights"] == cost.weight_bytes(
        cost.architecture("minilm"), "bfloat16", kept=()
    )


def test_what_does_not_fit_is_not_measured(monkeypatch):
    monkeypatch.setattr(language, "free_bytes", lambda device: 60e6)
    assert not language.fits("minilm", "float32", "cpu") and not language.random_points(("llama-3-8b",))
    monkeypatch.setattr(language, "free_bytes", lambda device: 200e6)
    assert language.fits("minilm", "float32", "cpu")


@pytest.mark.skipif("__import__('torch').cuda.is_available()")
@pytest.mark.parametrize(
    "call",
    [
        lambda: ServingPath.build("minilm", device="cuda"),
        lambda: language.random_points(("minilm",), device="cuda"),
        lambda: language.generation_points(device="cuda"),
        lambda: points.encode_points(device="cuda"),
        lambda: record.measure_parts(["ceilings"], device="cuda"),
    ],
)
def test_a_gpu_that_is_not_there_is_refused_in_one_line(call):
    with pytest.raises(InputError, match="no usable GPU"):
        call()


# --- Scaling


def test_exponents_of_known_powers():
    sizes = [10, 100, 1000, 10_000]
    assert growth_exponents.exponent(sizes, [7.0 * n**1.5 for n in sizes]) == pytest.approx(1.5)
    # A constant cost hides the growth of small sizes only.
    assert growth_exponents.exponent(sizes, [1000 + n**3.0 for n in sizes]) == pytest.approx(3, abs=0.01)
    assert growth_exponents.exponent([2, 1], [4.0, 1.0]) == pytest.approx(2)
    for bad in (([1], [1.0]), ([1, 2], [0.0, 1.0]), ([0, 1], [1.0, 1.0])):
        with pytest.raises(InputError, match="at least two"):
            growth_exponents.exponent(*bad)


def test_series_say_what_is_expected_of_them(quick):
    found = growth_exponents.catalogue("int8", (100, 200, 400), dimension=16)
    assert found["bytes"] == found["expected_bytes"] == [n * 20 for n in (100, 200, 400)]
    assert growth_exponents.exponents(found)["memory"] == pytest.approx(1)
    cube = growth_exponents.ease((30, 60, 120), n_users=20)
    assert growth_exponents.exponent(cube["sizes"], cube["expected_bytes"]) == pytest.approx(2)
    assert 2 < growth_exponents.exponents(cube)["time expected"] < 3
    tokens = growth_exponents.encode("tokens", (4, 8), batch=1)
    assert tokens["expected"] == [cost.encode_flops(cost.architecture("minilm"), n, 1) for n in (4, 8)]
    assert growth_exponents.exponents(tokens)["memory"] is None
    with pytest.raises(InputError, match="'users'"):
        growth_exponents.encode("users", (1,))


def test_users_add_to_the_gram_matrix_in_proportion(quick):
    found = growth_exponents.users((100, 200, 400), n_items=30)
    assert growth_exponents.exponents(found)["time expected"] == pytest.approx(1, abs=0.05)


def test_threads_are_as_many_as_before_afterwards(quick):
    import torch

    before = torch.get_num_threads()
    found = growth_exponents.threads((1, 2), batch=1)
    assert torch.get_num_threads() == before
    assert growth_exponents.exponents(found)["time expected"] == pytest.approx(-1)


# --- Training


def test_phases_are_split_by_the_calls_of_the_optimizer():
    now = [0.0]
    calls = []
    optimizer = SimpleNamespace(
        zero_grad=lambda: calls.append("zero"),
        step=lambda: now.__setitem__(0, now[0] + 4.0),
        param_groups=["p"],
    )
    clock = training_phases.PhaseClock(optimizer, lambda: now[0])
    for _ in range(2):
        now[0] += 1.0
        clock.zero_grad()
        now[0] += 2.0
        clock.step()
    assert clock.seconds == {"forward and loss": 2.0, "backward": 4.0, "optimizer": 8.0}
    assert clock.param_groups == ["p"] and calls == ["zero", "zero"]


def test_every_model_is_split_into_phases_that_took_time():
    train = points.interactions(40, 60, each=8)
    times = train.astype(np.float64)
    vectors = points.random_vectors(60, 8)
    for found in (
        training_phases.ease_phases(train),
        training_phases.sasrec_phases(train, times),
        training_phases.mlp_phases(train, vectors),
    ):
        assert all(math.isfinite(s) and s > 0 for s in found["phases_s"].values()), found
    tuned = training_phases.fine_tuning_phases("minilm", ["Heat", "Alien"], ["Crime", "Horror"], steps=1)
    assert all(s > 0 for s in tuned["phases_s"].values()) and tuned["amount"] == 4


# --- The record


@pytest.fixture
def parts(monkeypatch):
    """Parts that take no time."""
    m = Measurement("streaming read 1 MiB", (1.0 / 3, 0.5), 1.0, amount=2.0**20, amount_unit="bytes")
    copy = Measurement("streaming copy 1 MiB", (1.0,), 1.0, amount=2.0**20, amount_unit="bytes")
    product = Measurement("matmul float32 8", (0.5, 1.0), 1.0, amount=1024.0)
    rows = {"ceilings": [m.to_dict(), copy.to_dict(), product.to_dict()], "training": [{"model": "EASE"}]}
    monkeypatch.setattr(record, "PARTS", {name: (lambda device, r=r: r) for name, r in rows.items()})


def test_a_record_is_written_part_by_part_and_read_back(parts, tmp_path):
    path = record.measure_parts(["ceilings"], name="my-machine", folder=tmp_path)
    record.measure_parts(["training"], name="my-machine", folder=tmp_path)
    (tmp_path / "study.json").write_text("[]")
    found = record.records(tmp_path)
    assert list(found) == ["my-machine"] and list(found["my-machine"]) == ["ceilings", "training"]
    for part in found["my-machine"].values():
        assert part["method"] == record.METHOD and part["environment"]["processor"]
        assert len(part["date"]) == 10 and part["device"] == "cpu" and part["seconds"] >= 0
    assert json.loads(path.read_text())["parts"]["ceilings"]["rows"][0]["samples"][0] == 0.33333
    ceilings = record.ceilings_of(found["my-machine"])
    assert ceilings.operations_per_s == {"float32": 2048.0}
    assert ceilings.read_bytes_per_s == pytest.approx(3 * 2**20, rel=1e-4)
    assert (
        record.rows_of("training", tmp_path)[0].items() >= {"machine": "my-machine", "model": "EASE"}.items()
    )


def test_mistakes_are_refused_before_anything_is_measured(parts, tmp_path, capsys):
    with pytest.raises(InputError, match=r"'speed' is unknown.*ceilings"):
        record.measure_parts(["speed"], folder=tmp_path)
    with pytest.raises(InputError, match="name='a/b'"):
        record.measure_parts(["training"], name="a/b", folder=tmp_path)
    with pytest.raises(InputError, match="expected cpu or cuda"):
        record.measure_parts(["training"], device="tpu", folder=tmp_path)
    assert main(["measure", "speed"]) == 2
    assert capsys.readouterr().err.startswith("recsys_lib measure: part 'speed' is unknown")
    assert list(tmp_path.iterdir()) == []


def test_the_machines_name_says_processor_and_cores(monkeypatch):
    described = {
        "processor": "Intel(R) Xeon(R) Platinum 8488C CPU @ 2.40GHz",
        "cores_logical": 8,
        "gpus": [{"name": "NVIDIA H100"}],
    }
    monkeypatch.setattr(record.machine, "describe", lambda: described)
    assert record.machine_name() == "intel-xeon-platinum-8488c-8-cores"
    assert record.machine_name("cuda") == "nvidia-h100-8-cores"


def test_rated_power_is_the_cores_share(monkeypatch):
    monkeypatch.setattr(
        record.machine, "describe", lambda: {"flags": ["amx_bf16"], "cores_physical": 2, "cores_logical": 2}
    )
    watts, counts = record.rated_power("cpu")
    assert watts == pytest.approx(cost.hardware("c7i-2xlarge").watts / 2) and "c7i-2xlarge" in counts
    row = record.energy_row("x", cost.model_energy(2.0, watts), 10, "texts", watts, counts)
    assert row["method"] == "model" and row["low_joules"] <= row["joules"] <= row["high_joules"]
