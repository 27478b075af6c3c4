"""Vectors of a changed model, and what they recommend."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_lib import evaluation
from recsys_lib.core.errors import InputError
from recsys_lib.encoders import backends, native
from recsys_lib.encoders.transformer import Transformer
from recsys_lib.experiments import cold_ranking
from recsys_lib.experiments import vector_compression as compression
from recsys_lib.experiments.cold_ranking import ColdRanking
from recsys_lib.recommenders.text import TextProfile
from recsys_lib.vectors import geometry, similarity


@dataclass(frozen=True, eq=False)
class VectorEvaluator:
    """Compares vectors of the same items with ``reference [n, d]``, those of the unchanged model, by rankings
    of a split.

    train, test: of warm items, ranked in ``geometry`` by profiles. cold: ranks cold items by a map from the
    vectors, or None to leave that out.
    """

    reference: np.ndarray
    train: sp.csr_matrix
    test: sp.csr_matrix
    geometry: str = "zca"
    k: int = 10
    cold: ColdRanking | None = None

    def evaluate(self, vectors: np.ndarray) -> dict[str, float]:
        """Quality of ``vectors [n, D]`` beside the reference.

        ndcg at ``k``, low and high: 95% of its paired difference to the reference's over users; neighbours:
        fraction of the ``k`` nearest of each item that stay; cosine and worst: mean and minimum to the
        reference, nan in another space. With ``cold`` also what ``cold_ranking.against`` gives; a table of
        such rows is for ``cold_ranking.corrected``.
        """
        result, near = self._ranked(vectors)
        before, was = self._reference
        difference = evaluation.compare(result, before)
        row = {
            "ndcg": result.mean()["ndcg"], "low": difference.low, "high": difference.high,
            "neighbours": float(compression.shared(was, near).mean()), "cosine": np.nan, "worst": np.nan,
        }  # fmt: skip
        if vectors.shape == self.reference.shape:
            cosines = np.einsum(
                "nd,nd->n", similarity.normalize(vectors), similarity.normalize(self.reference)
            )
            row |= {"cosine": float(cosines.mean()), "worst": float(cosines.min())}
        if self.cold is not None:
            row |= cold_ranking.against(self.cold.evaluate(vectors), self._cold_reference)
        return row

    @cached_property
    def _reference(self) -> tuple[evaluation.Evaluation, np.ndarray]:
        return self._ranked(self.reference)

    @cached_property
    def _cold_reference(self) -> evaluation.Evaluation:
        assert self.cold is not None
        return self.cold.evaluate(self.reference)

    def _ranked(self, vectors: np.ndarray) -> tuple[evaluation.Evaluation, np.ndarray]:
        """What profiles of ``vectors`` rank, and the nearest of each item, in the evaluator's geometry."""
        fitted = geometry.fit_geometry(self.geometry, vectors).apply(vectors)
        result = evaluation.evaluate(TextProfile(fitted).fit(self.train), self.train, self.test, self.k)
        itself = sp.identity(len(vectors), dtype=np.float32, format="csr")
        return result, similarity.top_k(fitted, fitted, self.k, exclude=itself)[0]


def run_model(
    encoder: Transformer, model: Any, tokens: backends.Tokens, precision: str = "float32"
) -> np.ndarray:
    """Vectors of ``tokens`` by ``model``, a changed copy of ``encoder``'s: natively where that is possible,
    else over torch.

    Either way the encoder's own pooling and the layers after it are applied.

    Raises:
        InputError: another precision than float32 where the native path cannot run the model.
    """
    import torch

    reason = native_refuses(encoder, model, precision)
    if not reason:
        ready = native.NativeBert(model, precision)
        return encoder.after_pooling(ready.encode(tokens, encoder.pooling, torch.get_num_threads()))
    if precision != "float32":
        raise InputError(f"precision={precision!r} of a changed model: expected float32, since {reason}")
    return over_torch(encoder, model).run_tokens([(list(ids), begin) for ids, begin in tokens])


def native_refuses(encoder: Transformer, model: Any, precision: str) -> str:
    """Why the native path cannot run ``model``, a changed copy of ``encoder``'s, in one line; empty if it
    can.
    """
    if encoder.is_decoder:
        return "the native path runs encoders, not decoders"
    if encoder.pooling not in native.POOLINGS:
        return f"the native path has no pooling {encoder.pooling!r}, only {', '.join(native.POOLINGS)}"
    return native.why_not(model.config, precision)


def over_torch(encoder: Transformer, model: Any) -> Transformer:
    """``encoder`` with ``model``, a changed copy of its own, in eager float32."""
    changed = Transformer(
        encoder.name,
        precision="float32",
        device=encoder.device,
        pooling=encoder.pooling,
        prefix=encoder.prefix,
        normalize=encoder.normalize,
        revision=encoder.files.revision,
        max_tokens=encoder.max_tokens,
        cache=False,
    )
    changed.model = model
    return changed
