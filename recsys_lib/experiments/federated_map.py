"""What federated training of the map gives away and what its defences cost, as notebook 11 and its study
measure it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from recsys_lib import evaluation
from recsys_lib.core import paths, records
from recsys_lib.data.datasets import Dataset
from recsys_lib.experiments.study.item_texts import encode
from recsys_lib.trust.privacy import accountant, update_attacks
from recsys_lib.trust.privacy.federated import FederatedMap, Updates, halves, updates_of
from recsys_lib.trust.privacy.releases import DELTA
from recsys_lib.trust.privacy.token_rows import of_encoder

if TYPE_CHECKING:
    import pandas as pd

CLIP = 0.3
# Rounds and learning rates that are tried, and those that did best by ε on the validation part of the films
# (random split, draw 0).
GRID = ((20, 1.0), (20, 3.0), (30, 1.0), (30, 3.0), (60, 1.0), (60, 3.0))
CHOSEN: dict[float, tuple[int, float]] = {
    np.inf: (60, 3.0), 100.0: (30, 3.0), 30.0: (60, 1.0), 10.0: (20, 1.0), 3.0: (20, 1.0),
}  # fmt: skip
# ε of noise that every device adds by itself, to what it sends in all rounds.
LOCAL = 1000.0
# Users whose updates are added before the server sees them.
GROUPS = (5, 20)
# The record of the study ``experiments.privacy_study``, and what of it a table shows.
RECORD = "privacy-study"
# Without noise: the label of the row, beside ``ε = 1`` and the like.
NO_NOISE = "no noise"
SHOWN = ("update", "update, 1 bit", "sum of 20 updates", "noisy sum, ε = 100", "noisy sum, ε = 10")


def private_map(
    vectors: np.ndarray, epsilon: float, point: tuple[int, float] | None = None, **settings: Any
) -> FederatedMap:
    """The map whose rounds together are (``epsilon``, ``DELTA``)-private, infinite for no noise; not fitted.

    point: rounds and learning rate, else those of ``CHOSEN``.
    """
    rounds, rate = point or CHOSEN[epsilon]
    part = settings.get("rate", 1.0)
    noise = 0.0 if epsilon == np.inf else accountant.sampled_noise(epsilon, DELTA, part, rounds)
    return FederatedMap(vectors, rounds, rate, CLIP, noise, **settings)


def local_map(vectors: np.ndarray, n_users: int, epsilon: float = LOCAL, **settings: Any) -> FederatedMap:
    """The map of devices that trust nobody: each adds noise that makes what it sends private by itself.

    Two devices' updates are at most two clips apart, and the noise of all adds up.
    """
    rounds, rate = CHOSEN[10.0]
    noise = 2 * accountant.sampled_noise(epsilon, DELTA, 1.0, rounds)
    taking_part = settings.get("rate", 1.0) * n_users
    return FederatedMap(vectors, rounds, rate, CLIP, noise * float(np.sqrt(taking_part)), **settings)


def fitted_maps(
    vectors: np.ndarray,
    train: sp.csr_matrix,
    epsilons: tuple[float, ...] = (np.inf, 100.0, 10.0),
    **settings: Any,
) -> dict[str, FederatedMap]:
    """Maps by how they were trained: plain, one bit, ``noisy sum, ε = ...``, and noise on every device."""
    models = {name_of(e): private_map(vectors, e, **settings) for e in epsilons}
    models["update, 1 bit"] = private_map(vectors, np.inf, one_bit=True, **settings)
    models[f"update, own noise, ε = {LOCAL:g}"] = local_map(vectors, train.shape[0], **settings)
    return {name: model.fit(train) for name, model in models.items()}


def label(epsilon: float | None) -> str:
    """How a strength is called; None and infinity are no noise.

    >>> label(3.0), label(None), label(float("inf"))
    ('ε = 3', 'no noise', 'no noise')
    """
    return NO_NOISE if epsilon is None or epsilon == np.inf else f"ε = {epsilon:g}"


def name_of(epsilon: float) -> str:
    """What the table calls a map."""
    return "update" if epsilon == np.inf else f"noisy sum, ε = {epsilon:g}"


def first_round(
    vectors: np.ndarray, train: sp.csr_matrix, users: np.ndarray, seed: int = 0
) -> tuple[Updates, sp.csr_matrix, sp.csr_matrix]:
    """What all devices send in the first round, the ``users`` first, and the two halves of these users'
    histories; users without an item in either half send nothing that can be recovered and are moved back.
    """
    rng = np.random.default_rng([seed, 1])
    order = np.concatenate([users, np.setdiff1d(np.arange(train.shape[0]), users)])
    profile, targets = halves(sp.csr_matrix((train[order] != 0).astype(np.float32)), rng)
    d = vectors.shape[1]
    unit = FederatedMap(vectors).item_vectors
    sent = updates_of(np.zeros((d + 1, d), np.float32), unit, profile, targets)
    known = (np.diff(profile.indptr[: len(users) + 1]) > 0) & (np.diff(targets.indptr[: len(users) + 1]) > 0)
    rows = np.concatenate([np.flatnonzero(known), len(users) + np.arange(len(order) - len(users))])
    kept = int(known.sum())
    return Updates(sent.left[rows], sent.right[rows]), profile[rows[:kept]], targets[rows[:kept]]


def price_updates(
    models: Mapping[str, FederatedMap],
    train: sp.csr_matrix,
    test: sp.csr_matrix,
    users: np.ndarray,
    k: int = 10,
    seed: int = 0,
) -> pd.DataFrame:
    """As ``privacy.price``, a row for each form in which updates reach the server.

    history recovered: from what the server sees of a user in the first round. ndcg: of the map that is
    trained by such updates. bytes: that a device sends a round; a plain update is two vectors, one that is
    masked for a sum or carries noise is the whole matrix.
    """
    import pandas as pd

    vectors = models["update"].item_vectors
    d = vectors.shape[1]
    sent, profile, targets = first_round(vectors, train, users, seed)
    popularity = np.asarray(train.sum(axis=0)).ravel()
    ndcg = {m: evaluation.evaluate(one, train, test, k).mean()["ndcg"] for m, one in models.items()}
    n = profile.shape[0]
    seen = _seen(models, sent, n, seed)
    rows = {}
    for name, (matrices, size, epsilon) in seen.items():
        found = update_attacks.recover_histories(
            matrices, np.zeros((d + 1, d), np.float32), vectors, profile, targets, popularity
        ).mean()
        rows[name] = {
            "history recovered": found["recall"], "without the vector": found["baseline"],
            "ndcg": ndcg.get(name, ndcg["update"]), "bytes": size, "epsilon": epsilon,
        }  # fmt: skip
    return pd.DataFrame(rows).T


def _seen(
    models: Mapping[str, FederatedMap], sent: Updates, n: int, seed: int
) -> dict[str, tuple[np.ndarray, float, float]]:
    """What the server sees of each of the first ``n`` users ``[n, d + 1, d]``, the bytes of it, and ε.

    In a sum over random users the first ``n`` take part as well.
    """
    clipped, rng = sent.clipped(CLIP), np.random.default_rng([seed, 2])
    own, rate = Updates(clipped.left[:n], clipped.right[:n]), models["update"].rate
    others = n + np.flatnonzero(rng.random(len(sent.left) - n) < rate)
    total = own.sum() + Updates(clipped.left[others], clipped.right[others]).sum()
    plain, d = own.matrices(), own.right.shape[1]
    factors, whole = 4.0 * (2 * d + 1), 4.0 * d * (d + 1)
    found = {"update": (plain, factors, np.inf)}
    found["update, 1 bit"] = (own.signs(CLIP).matrices(), factors / 32, np.inf)
    for name, model in models.items():
        noise = model.noise * CLIP
        if name.startswith("noisy sum"):
            noisy = total + noise * rng.standard_normal(total.shape)
            found[name] = (np.repeat(noisy[None], n, axis=0), whole, model.epsilon(DELTA))
        elif "own noise" in name:
            noise /= float(np.sqrt(rate * len(sent.left)))
            found[name] = (plain + noise * rng.standard_normal(plain.shape), whole, LOCAL)
    names = {size: f"sum of {size} updates" for size in GROUPS}
    return found | {names[s]: (update_attacks.group_sums(plain, s), whole, np.inf) for s in GROUPS}


def participations(
    sent: Updates,
    epsilons: tuple[float, ...] = (np.inf, 100.0, 10.0),
    sizes: tuple[int, ...] = (10, 100),
    seed: int = 0,
) -> pd.DataFrame:
    """How well the server tells who took part in one round's sum, by the number of users in it and the ε of
    all rounds: area under the curve, and true positives at 0.1% false ones.
    """
    import pandas as pd

    rows = {}
    for size in (*sizes, len(sent.left) // 2):
        for epsilon in epsilons:
            rounds = CHOSEN[epsilon][0]
            noise = 0.0 if epsilon == np.inf else accountant.sampled_noise(epsilon, DELTA, 1.0, rounds)
            found = update_attacks.participation(sent, size, noise, CLIP, seed=seed)
            name = f"{size} users, " + ("no noise" if epsilon == np.inf else f"ε = {epsilon:g}")
            rows[name] = {"auc": found.auc, "true positives": found.true_positives}
    return pd.DataFrame(rows).T


def encoder_updates(
    items: Dataset, encoder: str, histories: sp.csr_matrix, popularity: np.ndarray
) -> pd.DataFrame:
    """What updates of a whole ``encoder`` give away of ``histories``, see ``token_rows``: every eighth item
    of the catalogue is a negative.
    """
    return of_encoder(encoder, items.item_texts(), histories, encode(items, encoder)[::8], popularity)


def _of_private_encoder(place: str, epsilon: float | None, ndcg: Mapping[str, float]) -> dict[str, Any]:
    name = f"{place}: small encoder"
    return {name: {"ndcg": ndcg["before"]}, f"{name}, DP-SGD, {label(epsilon)}": {"ndcg": ndcg["after"]}}


def _membership(told: Mapping[str, float]) -> dict[str, float]:
    return {"membership": told["auc"], "found": told["true positives"]}


def recorded(path: Path | None = None) -> pd.DataFrame:
    """The recorded study in one table: forms of updates on both catalogues, and the fine-tuned encoder.

    ``membership``: area under the curve of telling who was in the training data, where it was measured, and
    ``found``, the fraction of members at 0.1% false alarms. Empty without a record.
    """
    import pandas as pd

    path = path or paths.MEASUREMENTS / f"{RECORD}.json"
    rows: dict[str, dict[str, float]] = {}
    for run in records.runs_of(path) if path.is_file() else []:
        place, found = run["parameters"]["protocol"].split()[0], run["metrics"]
        if run["parameters"]["part"] == "encoder":
            for name, value in found["ndcg"].items():
                rows[f"{place}: {name} encoder"] = {"ndcg": value}
            rows[f"{place}: tuned encoder"] |= _membership(found["membership"])
            continue
        if run["parameters"]["part"] == "private encoder":
            rows |= _of_private_encoder(place, run["parameters"]["epsilon"], found["ndcg"])
        if run["parameters"]["part"] != "maps":
            continue
        told = {name_of(float(e)): _membership(value) for e, value in found["membership"].items()}
        for name in SHOWN:
            own = {c: found["updates"][name][c] for c in ("history recovered", "without the vector", "ndcg")}
            rows[f"{place}: {name}"] = own | told.get(name, {})
        for name in ("ε = 10", "EASE", "popularity"):
            shown = f"private EASE, {name}" if "ε" in name else name
            rows[f"{place}: {shown}"] = {"ndcg": found["comparisons"]["ndcg"][name]}
    columns = ["history recovered", "without the vector", "ndcg", "membership", "found"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)
