"""Work whose operations and bytes are counted from its shapes, timed: the points under a roofline.

Each point is a row of ``timed_rows``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_lib import cost, encoders
from recsys_lib.benchmarks.workloads.language import build
from recsys_lib.benchmarks.workloads.timed_rows import PROTOCOL, counting, model_row, row
from recsys_lib.encoders import backends
from recsys_lib.hardware import machine
from recsys_lib.hardware.timing import measure
from recsys_lib.recommenders import EASE
from recsys_lib.vectors import quantization, similarity
from recsys_lib.vectors.search import Index, kernel

# Names of encoders here and of their configurations in data/models.toml.
CONFIGURATIONS = {"minilm": "minilm", "e5": "e5-small", "smollm2": "smollm2-135m"}


def intensity(point: dict[str, Any]) -> float:
    """Operations per byte."""
    return point["operations"] / point["bytes"]


def bound_s(point: dict[str, Any], ceilings: machine.Ceilings) -> float:
    """The least seconds by the ceilings: the slower of arithmetic and memory,
    or of memory alone where no peak applies.
    """
    if point["compute"] is None:
        return point["bytes"] / ceilings.read_rate(point["bytes"])
    return ceilings.least_seconds(point["operations"], point["bytes"], point["compute"])


def encode_variants(device: str) -> tuple[tuple[str, str], ...]:
    """Backends and precisions of weights that encoders are timed with on this device."""
    if device == "cuda":
        return (("torch", "float32"), ("torch", "bfloat16"), ("torch", "float16"))
    return (
        ("torch", "float32"),
        ("torch", "bfloat16"),
        ("native", "float32"),
        ("native", "bfloat16"),
        ("native", "int8"),
    )


def encode_points(
    names: tuple[str, ...] = ("minilm",),
    batches: tuple[int, ...] = (1, 8, 64),
    tokens: int = 16,
    device: str = "cpu",
    variants: tuple[tuple[str, str], ...] = (),
) -> list[dict[str, Any]]:
    """``batch`` texts of exactly ``tokens`` tokens through an encoder, pooling included, by batch, backend
    and precision.

    A variant that this processor or encoder does not have is left out.

    Raises:
        InputError: an unknown encoder; ``device="cuda"`` without a GPU.
    """
    rows = []
    for name in names:
        sized = cost.architecture(CONFIGURATIONS[name])
        for backend, precision in variants or encode_variants(device):
            encoder: Any = encoders.load(
                name, precision=precision, backend=backend, device=device, cache=False
            )
            if backends.why_not(encoder, backend):
                continue
            workload = "encode" if backend == "torch" else f"encode, {backend}"
            for batch in batches:
                ids = np.random.default_rng(0).integers(1000, 20_000, (batch, tokens)).tolist()
                timed = measure(
                    partial(encoder.run_tokens, [(line, 0) for line in ids]),
                    workload,
                    amount=batch,
                    amount_unit="texts",
                    **PROTOCOL,
                )
                counted = cost.encode_bound(sized, counting(precision), tokens, batch, precision, precision)
                shape = {"batch": batch, "tokens": tokens}
                rows.append(model_row(workload, name, device, precision, shape, counted, timed))
    return rows


def random_vectors(n: int, dimension: int, seed: int = 0) -> np.ndarray:
    """Unit vectors ``[n, dimension]`` float32 in random directions:
    the time of a full scan does not depend on them.
    """
    rng = np.random.default_rng(seed)
    return similarity.normalize(rng.standard_normal((n, dimension), dtype=np.float32))


def scan_points(
    n: int = 1_000_000,
    dimension: int = 384,
    batches: tuple[int, ...] = (1, 64),
    schemes: tuple[str, ...] = ("float32", "bfloat16", "int8", "binary"),
    k: int = 10,
) -> list[dict[str, Any]]:
    """The best ``k`` of ``n`` vectors by their codes, for 1 and more queries, by precision of the codes.

    Operations are those of the products, two per component. Binary codes are added up without multiplying, so
    only memory bounds them here.
    """
    rows, vectors = [], random_vectors(n, dimension)
    queries = random_vectors(max(batches), dimension, seed=1)
    # With matrix units float32 is screened in bfloat16, and only what may be among the best multiplied again.
    screened = kernel.load() is not None and kernel.matrix_units()
    for scheme in schemes:
        index = Index.build(quantization.quantize(vectors, scheme))
        # Codes of 8 and 16 bits may be multiplied in any precision above theirs; the highest peak bounds them
        # all.
        compute = {"binary": None, "float32": "bfloat16" if screened else "float32"}.get(scheme, "int8")
        for batch in batches:
            timed = measure(
                partial(index.top_k, queries[:batch], k),
                "scan",
                amount=batch,
                amount_unit="queries",
                **PROTOCOL,
            )
            shape = {"batch": batch, "items": n, "dimension": dimension}
            n_bytes = index.quantized.bytes_per_vector * n
            rows.append(
                row(
                    "scan",
                    "index",
                    "cpu",
                    scheme,
                    compute,
                    shape,
                    2.0 * batch * n * dimension,
                    n_bytes,
                    timed,
                )
            )
        del index
    return rows


def interactions(n_users: int, n_items: int, each: int = 50, seed: int = 0) -> sp.csr_matrix:
    """Random interactions, ``each`` per user at most, items drawn by a popularity that falls as 1/rank;
    CSR float32 of ones.
    """
    rng = np.random.default_rng(seed)
    popularity = 1 / np.arange(1, n_items + 1)
    items = rng.choice(n_items, (n_users, min(each, n_items)), p=popularity / popularity.sum()).ravel()
    users = np.repeat(np.arange(n_users), min(each, n_items))
    matrix = sp.csr_matrix((np.ones(len(users), dtype=np.float32), (users, items)), shape=(n_users, n_items))
    matrix.data[:] = 1
    return matrix


def ease_operations(train: sp.csr_matrix) -> float:
    """Operations of an EASE fit: a third of ``n³`` for the Cholesky factor and two thirds for the inverse,
    and the Gram matrix's products.
    """
    each = np.diff(train.indptr).astype(float)
    return float(train.shape[1]) ** 3 + 2.0 * float((each**2).sum())


def ease_points(sizes: tuple[int, ...] = (2000,), n_users: int = 2000) -> list[dict[str, Any]]:
    """EASE fitted on random interactions with catalogues of these sizes; bytes: the weights written once."""
    rows = []
    for n in sizes:
        train, model = interactions(n_users, n), EASE(400.0)
        timed = measure(partial(model.fit, train), "EASE fit", amount_unit="fits", **PROTOCOL)
        shape = {"items": n, "users": n_users}
        rows.append(
            row(
                "EASE fit",
                "EASE",
                "cpu",
                "float32",
                "float32",
                shape,
                ease_operations(train),
                4.0 * n * n,
                timed,
            )
        )
    return rows


def counted_by_torch(name: str, tokens: int, batch: int = 1, prompt: bool = False) -> tuple[int, int]:
    """Operations of one pass by our count from the configuration, and by ``torch.utils.flop_counter`` on the
    meta device.

    No weights are needed: the model is built of shapes alone. ``prompt``: a prompt's prefill instead of an
    encoder's pass.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model = build(name, "meta", torch.float32, head=prompt, attention="eager")
    ids = torch.ones(batch, tokens, dtype=torch.long, device="meta")
    decoder = cost.architecture(name).reads_with == "decoder"
    # On the meta device transformers cannot make its causal mask; any mask has the right shape.
    more: dict[str, Any] = (
        {"attention_mask": torch.zeros(batch, 1, tokens, tokens, device="meta"), "use_cache": False}
        if decoder
        else {}
    )
    more |= {"logits_to_keep": 1} if prompt else {}
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(input_ids=ids, **more)
    count = cost.prefill_flops if prompt else cost.encode_flops
    ours = count(cost.architecture(name), tokens, batch)
    return ours, counter.get_total_flops()
