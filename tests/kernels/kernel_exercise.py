"""Runs all kernels over ragged sizes and saves what they return: ``python kernel_exercise.py SEARCH.so
ENCODER.so NEIGHBOURS.so OUT.npz``.

``none`` for one leaves it out.

A process of its own, so that sanitizers can be preloaded and freed memory can be filled. Results are saved
per case, and compared by the tests between compilers, instruction sets and fillings of memory.
"""

import ctypes
import sys
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import scipy.sparse as sp
import torch

from recsys_lib.core.errors import InputError
from recsys_lib.encoders import native
from recsys_lib.recommenders import ItemKNN, column_neighbours
from recsys_lib.vectors import quantization, search
from recsys_lib.vectors.search import kernel

SCHEMES = {
    "float32": {}, "float16": {}, "bfloat16": {}, "int8": {}, "int8-offset": {}, "int8-dimension": {},
    "int4": {}, "pq": {"bits": 4, "subspaces": 3}, "pq 8 bits": {"bits": 8, "subspaces": 3}, "binary": {},
}  # fmt: skip
# Items, dimensions, queries, k: one item; widths that are no multiple of a register; k of all items, more
# than are left after exclusion; no query; many threads.
CASES = [
    (1, 5, 1, 1), (1, 67, 17, 1), (65, 33, 5, 65), (70, 130, 50, 69), (70, 8, 0, 3), (300, 64, 1, 10),
    (4099, 48, 53, 10), (20_000, 20, 3, 10),
]  # fmt: skip
HIDDEN, FEED, HEADS, WORDS, POSITIONS = 96, 160, 3, 100, 64


def search_case(scheme, n, d, n_queries, k):
    rng = np.random.default_rng(n + d)
    # Many whole numbers of equal size: scores tie often.
    items = rng.integers(-2, 3, (n, d)).astype(np.float32) + rng.integers(0, 2, (n, 1)).astype(np.float32)
    queries = items[rng.integers(0, n, n_queries)] + rng.standard_normal((n_queries, d)).astype(np.float32)
    options = dict(SCHEMES[scheme])
    options.update({name: min(options[name], d) for name in options if name == "subspaces"})
    train = np.tile(items, (-(-256 // n), 1)) if scheme.startswith("pq") else items
    quantized = quantization.calibrate(train, scheme.split()[0], **options).quantize(items)
    index = search.Index.build(quantized, items)
    exclude = [np.arange(0, n, 7)[: n // 2] for _ in range(n_queries)]
    exact, near = index.exact_top_k(queries, k, exclude), index.top_k(queries, k, rescore=2)
    found = {
        "exact_ids": exact.ids,
        "exact_scores": exact.scores,
        "near_ids": near.ids,
        "near_scores": near.scores,
    }
    if scheme == "int8":  # 4 bits are read first
        both = search.Index.build(quantized, items, few=quantization.quantize(items, "int4"))
        with patch.object(kernel, "CACHED", 0):
            found["few_ids"] = both.exact_top_k(queries[:3], k, exclude[:3]).ids
    if scheme == "binary":
        found["sign_ids"] = index.top_k(queries, k, query_bits=1).ids
    return found


def tiny_bert():
    """What ``NativeBert`` reads of a ``transformers`` BERT, with random weights."""
    generator = torch.Generator().manual_seed(1)
    config = SimpleNamespace(
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        intermediate_size=FEED,
        layer_norm_eps=1e-12,
    )
    shapes = {f"embeddings.{name}_embeddings.weight": (n, HIDDEN)
              for name, n in (("word", WORDS), ("position", POSITIONS), ("token_type", 2))}  # fmt: skip
    norms = ["embeddings.LayerNorm"]
    for i in range(config.num_hidden_layers):
        linears = {f"attention.self.{name}": (HIDDEN, HIDDEN) for name in ("query", "key", "value")}
        linears |= {
            "attention.output.dense": (HIDDEN, HIDDEN),
            "intermediate.dense": (FEED, HIDDEN),
            "output.dense": (HIDDEN, FEED),
        }
        for name, shape in linears.items():
            shapes |= {f"encoder.layer.{i}.{name}.weight": shape, f"encoder.layer.{i}.{name}.bias": shape[:1]}
        norms += [f"encoder.layer.{i}.{name}.LayerNorm" for name in ("attention.output", "output")]
    state = {name: torch.randn(shape, generator=generator) * 0.1 for name, shape in shapes.items()}
    for name in norms:
        state |= {f"{name}.weight": torch.ones(HIDDEN), f"{name}.bias": torch.zeros(HIDDEN)}
    return SimpleNamespace(config=config, state_dict=lambda: state)


def encoder_cases(library):
    rng = np.random.default_rng(2)
    sizes = [1, 2, 3, 15, 16, 17, 31, 40, POSITIONS, *rng.integers(1, 30, 40)]
    tokens = [(rng.integers(0, WORDS, size).tolist(), 0) for size in sizes]
    for precision in native.PRECISIONS:
        model = native.NativeBert(tiny_bert(), precision, library=library)
        for name, part, threads in (("all", tokens, 3), ("one", tokens[4:5], 64), ("none", [], 2)):
            yield f"encoder {precision} {name}", model.encode(part, "mean", threads)
        for wrong in ([WORDS], [-1], [0] * (POSITIONS + 1)):
            try:
                model.encode([*tokens[:3], (wrong, 0)], "mean", 2)
            except InputError:
                continue
            raise AssertionError(f"{precision}: {wrong[:3]} was not refused")


def neighbour_cases():
    """Items of all users and of none, more neighbours than items, sums of numbers and of texts."""
    for n_users, n_items, density in ((1, 1, 1.0), (30, 17, 0.5), (70, 900, 0.02), (400, 130, 0.3)):
        rng = np.random.default_rng(n_items)
        train = sp.random(n_users, n_items, density, "csr", np.float32, random_state=rng)
        texts = rng.standard_normal((n_items, 5))
        for name, model in (("plain", ItemKNN(20, 1.0)), ("texts", ItemKNN(8, item_vectors=texts))):
            yield f"neighbours {name} {n_items}", model.fit(train).weights.toarray()


def main(search_library, encoder_library, neighbours_library, out):
    results = {}
    if search_library != "none":
        loaded = ctypes.CDLL(search_library)
        kernel.load = lambda: loaded
        kernel.threads = lambda: 16
    for scheme in SCHEMES if search_library != "none" else ():
        for case in CASES:
            for name, found in search_case(scheme, *case).items():
                results[f"{scheme} {case} {name}"] = found
    if encoder_library != "none":
        results.update(encoder_cases(ctypes.CDLL(encoder_library)))
    if neighbours_library != "none":
        neighbours = ctypes.CDLL(neighbours_library)
        column_neighbours.load = lambda: neighbours
        column_neighbours._threads = lambda n: 7
        results.update(neighbour_cases())
    np.savez(out, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
