"""Titles made of numbers: each says what its table holds."""

import pandas as pd

from recsys_lib.hardware import machine
from recsys_lib.reporting import compression_titles, workload_titles


def by_bits(**columns):
    methods = [("as it came", 32), ("nearest", 8), ("nearest", 6), ("nearest", 4)]
    methods += [("nearest, per channel", 4), ("GPTQ", 4)]
    return pd.DataFrame(columns, index=pd.MultiIndex.from_tuples(methods, names=["method", "bits"]))


def test_sizes():
    words, whole = {"e5": 96, "smollm2": 28}, {"e5": 120, "smollm2": 135}
    title = compression_titles.share_of_words(words, whole, "smollm2")
    assert title == "Of e5 80% are words, of smollm2 21%"
    held = pd.DataFrame({"resident_MB": {"native int8": 30.4, "torch float32": 120.6}})
    assert compression_titles.resident(held) == "In memory native int8 takes 30 MB, torch float32 121"


def test_bits_of_an_encoder_and_a_decoder():
    table = by_bits(
        cosine=[1, 0.99, 0.98, 0.951, 0.7, 0.9631],
        ndcg=[0.1, 0.1, 0.1, 0.09, 0.05, 0.0951],
        perplexity=[17.84, 17.9, 18.4, 25.1, 99, 21.55],
        neighbours=[1, 0.97, 0.9, 0.61, 0.2, 0.7],
    )
    at_four_bits = compression_titles.at_four_bits
    said = at_four_bits("minilm", table, "cosine", 32)
    assert said == "minilm at 4 bits: cosine 0.951 in groups of 32, 0.963 by GPTQ"
    said = at_four_bits("e5", table, "ndcg", 32)
    assert said == "e5 at 4 bits: NDCG 0.090 in groups, 0.050 per channel, 0.100 unchanged"
    title = compression_titles.perplexity(table)
    assert title == "Perplexity 17.8 as it came, 25.1 at 4 bits, 21.6 by GPTQ"
    title = compression_titles.neighbours(table)
    assert title == "97% of the neighbours stay at 8 bits, 61% at 4"
    assert compression_titles.ndcg_of_decoder(table) == "NDCG 0.100, 0.100 at 6 bits, 0.090 at 4"


def test_layers_and_scales():
    loud = pd.DataFrame({"query": [2.0, 3.0], "down": [25.4, 4.0]})
    title = compression_titles.loudest_channel("minilm", loud)
    assert title == "minilm: the loudest channel is up to 25 times the median (down)"
    assert (
        compression_titles.loudest_of_decoder("smollm2", 1000 * loud) == "smollm2: up to 25,400 times (down)"
    )
    assert compression_titles.most_lost("minilm", loud).startswith("minilm: down in 2 bits hurts most")
    mean = {
        "one": 0.5,
        "per output | one per batch": 0.8,
        compression_titles.SMOOTHED: 0.9,
        "b": 0.9,
        "t": 0.98,
    }
    steps = pd.DataFrame({"mean": mean})
    title = compression_titles.smoothing_of_encoder(steps)
    assert title == "MiniLM: smoothing changes little (÷2.0), a scale per token helps (÷10)"
    assert compression_titles.smoothing_of_decoder("smollm2", steps) == "smollm2: smoothing helps (÷2)"


def test_parts_and_speeds():
    names = ["whole", "4 layers of 6", "3 layers of 6", "static, 256 numbers, even", "whole, int8"]
    found = {"ndcg": [0.1, 0.09, 0.088, 0.0931, 0.1], "texts per s": [10.0, 13.0, 20.0, 900.0, 60.0]}
    pruned = pd.DataFrame(found, index=names)
    title = compression_titles.parts(pruned)
    assert title.startswith("A static table keeps 93% of NDCG, half the layers 88% ")
    title = compression_titles.speed_of_parts(pruned)
    assert title == (
        "Eight bits are faster than any pruning (6.0 times the whole); a table is 90 times as fast"
    )
    pruned.loc["whole, int8", "texts per s"] = 15.0
    assert compression_titles.speed_of_parts(pruned).startswith("Eight bits are not the fastest (1.5 times")
    ratios = pd.DataFrame({"a": [4.2, 0.5], "b": [9.4, 0.8]}, index=["native int8", "compile float32"])
    title = compression_titles.native_speed(ratios)
    assert title.startswith("native int8 is 4 to 9 times as fast") and title.endswith("in 2 of 2 cells")
    found = pd.DataFrame({"int8": [13, 33, 69], "float32": [10, 10, 10]}, index=["AVX2", "VNNI", "AMX"])
    title = compression_titles.int8_by_processor(found)
    assert title == "int8 over float32: 1.3 times with AVX2, 3.3 with VNNI, 6.9 with AMX"
    least = pd.Series({"int4": 0.991, "binary": 0.88})
    title = compression_titles.fewest_kept(least)
    assert title == "4 bits keep at least 99% of warm NDCG, the sign (star) 88%"


def test_requests_and_roofs():
    names = [("here", "minilm torch"), ("here", "minilm native int8"), ("here", "wordllama")]
    share = pd.Series([0.9, 0.5, 0.01], index=pd.MultiIndex.from_tuples(names))
    title = workload_titles.encoder_of_a_request(share)
    assert title.startswith("In eager torch the encoder takes 90% to 90%") and title.endswith("50% to 50%")
    bounds = pd.DataFrame({"workload": ["scan", "decode"], "precision": ["int8", "float32"]})
    title = workload_titles.distance_to_the_roof(bounds.assign(**{"time / bound": [1.125, 4.0]}))
    assert title.startswith("Nearest to the roofline: scan in int8, at 1.12 times its bound;")
    assert title.endswith("than 2.6 times")


def test_phases_and_ladders():
    trained = pd.DataFrame({"backward": [float("nan"), 3.0, 1.0], "total": [9.0, 10.0, 2.0]})
    title = workload_titles.backward_pass(trained)
    assert title == "The backward pass takes 30% to 50% of training by gradient; EASE has none"
    roof = machine.Ceilings({}, 10.0, 10.0, (), read_by_size={2048: 10.0, 1024: 45.0})
    assert "reads 4.5 times as fast" in workload_titles.ladder("here", roof)
    rows = [
        {"workload": workload, "sizes": [1, 2, 4], "expected": [1, 2, 4], "bytes": [], "expected_bytes": []}
        | {"measurements": [{"p50": n**power} for n in (1, 2, 4)]}
        for workload, power in (("search, int8", 1), ("EASE fit", 2))
    ]
    assert workload_titles.growth("Catalogue", rows) == "Catalogue: int8 n^1.00, EASE fit n^2.00"
