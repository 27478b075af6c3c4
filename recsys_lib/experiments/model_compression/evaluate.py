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
from recsys_lib.experiments import vector_compression as compression
from recsys_lib.recommenders.text import TextProfile
from recsys_lib.vectors import geometry, similarity


@dataclass(frozen=True, eq=False)
class Judge:
    """Judges vectors of the same items against ``reference [n, d]``, those of the unchanged model,
    and by ranking for the users of a split.
    """

    reference: np.ndarray
    train: sp.csr_matrix
    test: sp.csr_matrix
    geometry: str = "zca"
    k: int = 10

    def judge(self, vectors: np.ndarray) -> dict[str, float]:
        """ndcg at ``k``, low and high: 95% of its paired difference to the reference's over users;
        neighbours: share of the ``k`` nearest of each item that stay; cosine and worst: to the reference, nan
        in another space.
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
        return row

    @cached_property
    def _reference(self) -> tuple[evaluation.Evaluation, np.ndarray]:
        return self._ranked(self.reference)

    def _ranked(self, vectors: np.ndarray) -> tuple[evaluation.Evaluation, np.ndarray]:
        """What profiles of ``vectors`` rank, and the nearest of each item, in the judge's geometry."""
        mended = geometry.fit_geometry(self.geometry, vectors).apply(vectors)
        result = evaluation.evaluate(TextProfile(mended).fit(self.train), self.train, self.test, self.k)
        itself = sp.identity(len(vectors), dtype=np.float32, format="csr")
        return result, similarity.top_k(mended, mended, self.k, exclude=itself)[0]


def run_model(
    encoder: Transformer, model: Any, tokens: backends.Tokens, precision: str = "float32"
) -> np.ndarray:
    """Vectors of ``tokens`` by ``model``, a changed copy of ``encoder``'s:
    natively where that is possible, else over torch.
    """
    import torch

    if not encoder.is_decoder and not native.why_not(model.config, precision):
        return native.NativeBert(model, precision).encode(tokens, encoder.pooling, torch.get_num_threads())
    if precision != "float32":
        raise InputError(
            f"precision={precision!r}: a changed model runs natively only, and this machine cannot"
        )
    return over_torch(encoder, model).run_tokens([(list(ids), begin) for ids, begin in tokens])


def over_torch(encoder: Transformer, model: Any) -> Transformer:
    """``encoder`` with ``model``, a changed copy of its own, in eager float32."""
    changed = Transformer(encoder.name, precision="float32", device=encoder.device, pooling=encoder.pooling,
        prefix=encoder.prefix,
                          max_tokens=encoder.max_tokens, cache=False)  # fmt: skip
    changed.model = model
    return changed
