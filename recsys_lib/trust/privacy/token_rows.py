"""What an update of a whole encoder gives away: the gradient of its table of tokens names the words read.

Adversary: the server of a federated fine-tuning, which sees one user's gradient and knows the catalogue's
texts. A row of the table has a gradient only if its token is in a text of the user's; the texts whose rows
all have one are the history. Baseline: the most popular items. That rows name words is known from language
models (Melis et al., "Exploiting Unintended Feature Leakage in Collaborative Learning", S&P 2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.llm.finetune.text_model import TextModel
from recsys_lib.trust.privacy.accountant import gaussian_sigma
from recsys_lib.trust.privacy.releases import DELTA

if TYPE_CHECKING:
    import pandas as pd

TEMPERATURE = 0.1


@dataclass(frozen=True, eq=False)
class TableGradient:
    """rows: the gradient of the table of tokens, float32 ``[vocabulary, d]``. norm: of the whole update."""

    rows: np.ndarray
    norm: float


def table_gradient(model: TextModel, items: np.ndarray, negatives: np.ndarray) -> TableGradient:
    """What a device would send of the table after one step on its history ``items``: each item is told from
    ``negatives [n, d]``, vectors that the server gave, by the mean of the others.

    Raises:
        InputError: fewer than 2 items, an encoder whose table is not trained.
    """
    import torch
    from torch.nn import functional

    table = model.model.get_input_embeddings().weight
    if len(items) < 2 or not table.requires_grad:
        raise InputError(f"{len(items)} items, trained={model.trained!r}: expected at least 2, and 'full'")
    model.model.zero_grad(set_to_none=True)
    own = functional.normalize(model.vectors(items), dim=1)
    profiles = functional.normalize(own.sum(dim=0) - own, dim=1)
    others = functional.normalize(torch.from_numpy(np.array(negatives, dtype=np.float32)), dim=1)
    logits = torch.cat([(profiles * own).sum(dim=1, keepdim=True), profiles @ others.T], dim=1) / TEMPERATURE
    functional.cross_entropy(logits, torch.zeros(len(items), dtype=torch.long)).backward()
    square = sum(float((p.grad**2).sum()) for p in model.parameters().values() if p.grad is not None)
    return TableGradient(table.grad.numpy().copy(), float(np.sqrt(square)))


def row_norms(gradient: TableGradient, epsilon: float = np.inf, seed: int | Sequence[int] = 0) -> np.ndarray:
    """Norms of the rows ``[vocabulary]`` as the server sees them.

    With an ``epsilon`` the update is clipped to length 1 and gets the Gaussian noise by which any two
    devices' updates of one round cannot be told apart beyond (``epsilon``, ``DELTA``).
    """
    if epsilon == np.inf:
        return np.linalg.norm(gradient.rows, axis=1)
    sigma = np.float32(gaussian_sigma(epsilon, DELTA, 2.0))
    noise = np.random.default_rng(seed).standard_normal(gradient.rows.shape, dtype=np.float32)
    return np.linalg.norm(gradient.rows / max(gradient.norm, 1.0) + sigma * noise, axis=1)


def _own_tokens(model: TextModel) -> list[np.ndarray]:
    special = set(model.source.tokenizer.all_special_ids)
    return [np.array(sorted(set(ids) - special), dtype=np.int64) for ids, _ in model.tokens]


def recovered(
    model: TextModel,
    histories: sp.csr_matrix,
    negatives: np.ndarray,
    popularity: np.ndarray,
    epsilons: Sequence[float] = (np.inf, 1000.0),
) -> pd.DataFrame:
    """For each ε the mean over users of: the fraction of the distinct tokens of the history that are among as
    many rows of largest gradient; the fraction of the history among as many items whose tokens have the
    largest ones (mean of logarithms); and the same of the most popular items.
    """
    import pandas as pd

    tokens, rows = _own_tokens(model), {}
    popular = np.argsort(-np.asarray(popularity), kind="stable")
    gradients = [table_gradient(model, one.indices, negatives) for one in histories]
    for epsilon in epsilons:
        found = []
        for user, gradient in enumerate(gradients):
            norms, items = row_norms(gradient, epsilon, [user]), histories[user].indices
            norms[list(model.source.tokenizer.all_special_ids)] = 0
            read = np.unique(np.concatenate([tokens[i] for i in items]))
            named = np.argsort(-norms, kind="stable")[: len(read)]
            logs = np.log(norms + 1e-12)
            scores = np.array([logs[own].mean() if len(own) else -np.inf for own in tokens])
            best = np.argsort(-scores, kind="stable")[: len(items)]
            blind = popular[: len(items)]
            found.append([np.isin(a, b).mean() for a, b in ((read, named), (items, best), (items, blind))])
        name = "whole update" if epsilon == np.inf else f"clipped, noise, ε = {epsilon:g}"
        rows[name] = np.mean(found, axis=0)
    return pd.DataFrame(rows, index=["words recovered", "history recovered", "without the update"]).T


def of_encoder(
    encoder: str,
    texts: Sequence[str],
    histories: sp.csr_matrix,
    negatives: np.ndarray,
    popularity: np.ndarray,
    epsilons: Sequence[float] = (np.inf, 1000.0),
) -> pd.DataFrame:
    """``recovered`` of an encoder all of whose weights are trained, and the megabytes that a device sends."""
    model = TextModel(encoder, texts, "full")
    found = recovered(model, histories, negatives, popularity, epsilons)
    return found.assign(megabytes=4e-6 * sum(p.numel() for p in model.parameters().values()))
