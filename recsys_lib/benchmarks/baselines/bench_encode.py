"""Text to vectors against baselines."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np

from recsys_lib.benchmarks.baselines.rows import Row, row
from recsys_lib.core.quiet import quiet
from recsys_lib.data import assets, datasets
from recsys_lib.encoders import backends
from recsys_lib.encoders.distilled import Distilled
from recsys_lib.encoders.transformer import Transformer
from recsys_lib.hardware import machine, timing
from recsys_lib.kernels import compiler
from recsys_lib.vectors import similarity

N_TEXTS = 4096
# Rounds that begin later than this are not begun.
MAX_SECONDS = 90.0
DEFAULT = "sentence-transformers"
# Instruction sets of the kernels that multiply bfloat16.
WITH_BFLOAT16 = ("amx", "avx512bf16", "i8mm")
# Rounds of single queries.
ROUNDS = 3
# Baselines of each precision, run as ours is: longest first, in batches of so many tokens, same threads.
PEERS = {
    "float32": ("openvino", "compile"),
    "bfloat16": ("openvino",),
    "int8": ("openvino", "onnxruntime", "torchao"),
}
# Of a weight.
BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}
QUERY = "space opera with a strong heroine"


# Of so many tokens each: as long as MiniLM reads.
LONG, N_LONG = 256, 48


def encode_rows() -> list[Row]:
    """MiniLM on 4,096 book titles with their authors and on texts of 256 tokens: our fastest backend of each
    precision, and a static distillation, against baselines.

    Baselines of the same precision come first; sentence-transformers runs at its defaults (float32, 32 texts
    a batch); OpenVINO, onnxruntime, torchao and ``torch.compile`` get our tokens, sorted and batched.
    Precisions that this processor only emulates are left out. Everything is warmed. The bound counts two
    operations per weight and token at the measured peak of the precision; of the static table, its bytes at
    the measured bandwidth. Quality is the minimum and the mean cosine to sentence-transformers.
    """
    texts, reference = book_titles(N_TEXTS), sentence_transformer()
    ours = {p: _ours(p) for p in PEERS if not _emulated(p)}
    baselines = {
        p: {f"{b} {p}": e.with_backend(b) for b in PEERS[p] if b != e.backend and _present(e, b)}
        for p, e in ours.items()
    }
    peaks = {p: machine.matmul_peak(p, seconds=0.5).throughput for p in ours}
    tried = (ours, baselines, reference, peaks)
    rows, default_s = _throughput("encode", f"{len(texts):,} texts", texts, *tried)
    rows.append(_static_row(texts, ours["float32"], default_s))
    rows += _throughput("encode long", f"{N_LONG} x {LONG} tokens", _long(texts), *tried)[0]
    return rows + latency_rows(ours, reference, layer_weights(ours["float32"]))


def _throughput(
    workload: str,
    size: str,
    texts: list[str],
    ours: dict[str, Transformer],
    baselines: dict[str, dict[str, Transformer]],
    reference,
    peaks: dict[str, float],
) -> tuple[list[Row], timing.Measurement]:
    """Rows of every precision against its baselines and against sentence-transformers, whose time comes
    with them.
    """

    def call(encoder: Transformer) -> Callable[[list[str]], np.ndarray]:
        return partial(encoder.encode, progress=False)

    work: dict[str, Callable[[list[str]], np.ndarray]] = {
        DEFAULT: partial(reference.encode, show_progress_bar=False)
    }
    work |= {p: call(e) for p, e in ours.items()}
    work |= {name: call(e) for others in baselines.values() for name, e in others.items()}
    timed = _timed(work, texts)
    theirs = work[DEFAULT](texts)
    rows, n_tokens = [], sum(len(ids) for ids, _ in ours["float32"].tokenize(texts))
    for p, encoder in ours.items():
        limit = 2 * layer_weights(ours["float32"]) * n_tokens / peaks[p]
        what, agreed = f"{size}, {p}, {encoder.backend}", agreement(work[p](texts), theirs)
        for name in (n for n in baselines[p] if n in timed):
            with _silent():
                other = agreement(work[name](texts[:512]), theirs[:512])
            both = {"ours": timed[p], name: timed[name]}
            rows.append(row(workload, what, name, both, limit, f"{agreed}; baseline's {other}"))
        rows.append(row(workload, what, DEFAULT, {"ours": timed[p], DEFAULT: timed[DEFAULT]}, limit, agreed))
    return rows, timed[DEFAULT]


def _static_row(texts: list[str], encoder: Transformer, default_s: timing.Measurement) -> Row:
    static = Distilled(encoder)
    timed = timing.compare({"ours": lambda: static.encode(texts)}, min_samples=5) | {DEFAULT: default_s}
    n_tokens = sum(len(ids) for ids, _ in encoder.tokenize(texts))
    limit = n_tokens * static.table.shape[1] * 4 / machine.read_bandwidth(seconds=0.3).throughput
    size = f"{len(texts):,} texts, static table"
    return row("encode", size, DEFAULT, timed, limit, "another quality: see notebook 09")


def _long(texts: list[str]) -> list[str]:
    """Texts that are longer than ``LONG`` tokens, of titles."""
    return [" ".join(texts[i::N_LONG][:60]) for i in range(N_LONG)]


@contextmanager
def _silent() -> Iterator[None]:
    """Without the baselines' progress bars and warnings."""
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _timed(
    work: Mapping[str, Callable[[list[str]], object]], texts: list[str]
) -> dict[str, timing.Measurement]:
    """Every encoder warmed on a quarter of the texts, then timed in three interleaved rounds; what it is at
    and how long it takes go to stderr. A baseline that fails is left out, in one line.
    """
    once, part = {}, texts[::4]
    for name, call in work.items():
        print(f"bench encode: warm {name} …", file=sys.stderr, end=" ", flush=True)
        try:
            with _silent():
                call(part)
                start = time.perf_counter()
                call(part)
        except RuntimeError as error:
            if name in PEERS:  # ours
                raise
            print(f"left out, it failed: {str(error).strip().splitlines()[-1]}", file=sys.stderr)
            continue
        once[name] = 4 * (time.perf_counter() - start)
        print(f"{once[name]:.1f} s for {len(texts):,} texts", file=sys.stderr)
    # ``compare`` calls everything once more before its three rounds.
    about = sum(once.values()) + min(3 * sum(once.values()), MAX_SECONDS)
    print(f"bench encode: three interleaved rounds, about {about:.0f} s", file=sys.stderr)
    with _silent():
        return timing.compare(
            {name: partial(work[name], texts) for name in once},
            min_samples=3, min_seconds=0.5, max_seconds=MAX_SECONDS, warmup=0,
        )  # fmt: skip


def _emulated(precision: str) -> bool:
    """Whether the processor, or the instruction set that it is held to, only emulates the precision; said in
    one line.
    """
    held = precision == "bfloat16" and compiler.instruction_set() not in WITH_BFLOAT16
    if held or machine.emulates(precision):
        print(f"bench encode: without {precision}: this processor only emulates it", file=sys.stderr)
        return True
    return False


def latency_rows(ours: dict[str, Transformer], reference, weights: int) -> list[Row]:
    """One short query at a time, tokenization included: medians, with the 99th percentiles in ``quality``.
    The bound reads each weight once.

    One library after the other, not call by call: interleaved, a query pays for the threads that the library
    before it left spinning. ``ROUNDS`` such rounds, so that no library has all of a busy moment.
    """
    work: dict[str, Callable[[], object]] = {
        p: partial(e.encode, [QUERY], progress=False) for p, e in ours.items()
    }
    work[DEFAULT] = lambda: reference.encode([QUERY], show_progress_bar=False)
    for precision in ("float32", "int8"):
        if _present(ours[precision], "onnxruntime"):
            other = ours[precision].with_backend("onnxruntime")
            work[f"onnxruntime {precision}"] = partial(other.encode, [QUERY], progress=False)
    asked = partial(timing.measure, min_samples=70, min_seconds=0.4, warmup=20)
    rounds = [{name: asked(call, name) for name, call in work.items()} for _ in range(ROUNDS)]
    timed = {
        name: replace(rounds[0][name], samples=sum((own[name].samples for own in rounds), ()))
        for name in work
    }
    rows, bandwidth = [], machine.read_bandwidth(seconds=0.3).throughput
    size = len(ours["float32"].tokenize([QUERY])[0][0])
    for p, encoder in ours.items():
        what, limit = f"{size} tokens, {p}, {encoder.backend}", weights * BYTES[p] / bandwidth
        for baseline in (name for name in (f"onnxruntime {p}", DEFAULT) if name in work):
            p99 = f"p99 {timed[p].p99 * 1e3:.2f} ms, baseline's {timed[baseline].p99 * 1e3:.2f} ms"
            both = {"ours": timed[p], baseline: timed[baseline]}
            rows.append(row("one query", what, baseline, both, limit, p99))
    return rows


def book_titles(n: int) -> list[str]:
    """``n`` titles with authors of Book-Crossing, drawn at random."""
    texts = datasets.load("book-crossing").item_texts(("title", "author"))
    return [texts[i] for i in np.random.default_rng(0).choice(len(texts), n, replace=False)]


def sentence_transformer():
    """MiniLM in sentence-transformers, on the CPU."""
    from sentence_transformers import SentenceTransformer

    with quiet():
        return SentenceTransformer(str(assets.locate("minilm")), device="cpu")


def layer_weights(encoder: Transformer) -> int:
    """Weights that every token is multiplied with: all but the tables of embeddings."""
    return sum(w.numel() for name, w in encoder.model.named_parameters() if "embeddings." not in name)


def agreement(a: np.ndarray, b: np.ndarray) -> str:
    """Worst and mean cosine of rows; NaN where one of ``a`` is not finite, as of a baseline held to AVX2."""
    finite = np.isfinite(a).all(axis=1)
    cosines = np.full(len(a), np.nan)
    cosines[finite] = np.einsum("nd,nd->n", similarity.normalize(a[finite]), similarity.normalize(b[finite]))
    says = f"cosine worst {cosines.min():.5f}, mean {cosines.mean():.5f}"
    return says if finite.all() else f"{says} ({(~finite).sum()} of {len(a)} vectors are not finite)"


def _ours(precision: str) -> Transformer:
    """The native path, or eager torch where there is no compiler."""
    encoder = Transformer("minilm", precision=precision, backend="torch", device="cpu", cache=False)
    return encoder.with_backend("native") if not backends.why_not(encoder, "native") else encoder


def _present(encoder: Transformer, backend: str) -> bool:
    """Whether the baseline is here; an absent one is named in one line."""
    reason = backends.why_not(encoder, backend)
    if reason:
        print(f"bench encode: without {backend}: {reason}", file=sys.stderr)
    return not reason
