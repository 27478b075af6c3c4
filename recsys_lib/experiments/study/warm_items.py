"""The ranking study of items with interactions: encoders alone, text beside interactions, controls,
protocols.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd

from recsys_lib import cost, evaluation
from recsys_lib.data.datasets import Dataset
from recsys_lib.evaluation import Evaluation, metrics
from recsys_lib.evaluation.splits import Split
from recsys_lib.evaluation.tuning import (
    Method,
    Outcome,
    compare_methods,
    known_users,
    stored_bytes,
    warm_task,
)
from recsys_lib.experiments.study.item_texts import control_texts, encode, side_by_side, whitened
from recsys_lib.experiments.study.search_spaces import EASE_SPACE, text_prior, timed_methods, warm_methods
from recsys_lib.experiments.study.study_tables import answers, averaged
from recsys_lib.hardware import timing
from recsys_lib.recommenders import EASE, TextProfile, checks
from recsys_lib.vectors import geometry

GEOMETRIES = ("raw", "centred", "top-removed", "zca")
# Encoders that no language model takes part in.
CHEAP = ("labels", "tfidf")
HYBRIDS = {
    "EASE + joined text": "EASE",
    "EASE + text": "EASE",
    "EASE, text blended in": "EASE",
    "EASE and text, ranks fused": "EASE",
    "EASE + shuffled text": "EASE",
    "ItemKNN + joined text": "ItemKNN",
}
CONTROL = "random vectors"


def encoders_alone(
    raw: Mapping[str, np.ndarray], compared: Sequence[str], parts: Sequence[Split], k: int = 10
) -> tuple[pd.DataFrame, dict[str, Evaluation]]:
    """Mean and cosine with every encoder in every geometry; the geometry is chosen on the first validation
    part.

    Returns NDCG on the test ``[encoder, geometry]`` with the column ``chosen``, and each encoder's evaluation
    in the chosen geometry, averaged over the splits.
    """
    rows, found = {}, {}
    first = parts[0]
    held = known_users(first.validation, first.train)
    for name in compared:
        fitted = {g: geometry.fit_geometry(g, raw[name]).apply(raw[name]) for g in GEOMETRIES}
        tuned = {
            g: evaluation.evaluate(TextProfile(v).fit(first.train), first.train, held, k)
            for g, v in fitted.items()
        }
        values = {g: round(e.mean()["ndcg"], 6) for g, e in tuned.items()}
        chosen = max(values, key=values.__getitem__)
        tested = {g: evaluation.average([_profile(v, part, k) for part in parts]) for g, v in fitted.items()}
        rows[name] = {g: e.mean()["ndcg"] for g, e in tested.items()} | {"chosen": chosen}
        found[name] = tested[chosen]
    return pd.DataFrame(rows).T.astype(dict.fromkeys(GEOMETRIES, float)), found


def _profile(vectors: np.ndarray, part: Split, k: int) -> Evaluation:
    whole = part.with_validation()
    model = TextProfile(vectors).fit(whole.train)
    return evaluation.evaluate(model, whole.train, known_users(whole.test, whole.train), k)


def best_of(found: Mapping[str, Evaluation], names: Sequence[str]) -> str:
    """The name of highest NDCG among those of ``names`` that are in ``found``, else among all."""
    among = [name for name in names if name in found] or list(found)
    return max(among, key=lambda name: found[name].mean()["ndcg"])


def encoder_questions(found: Mapping[str, Evaluation]) -> dict[str, tuple[str, str]]:
    """Every language model against the better of labels and TF-IDF, as ``answers`` takes them."""
    base = best_of(found, CHEAP)
    return {f"{name} against {base}": (name, base) for name in found if name not in CHEAP and name != base}


def methods_of(
    raw: Mapping[str, np.ndarray],
    encoder: str,
    joined_sources: Sequence[str],
    part: Split,
    timed: bool,
    left_out: Sequence[str],
) -> dict[str, Method]:
    """The methods of the study on one split, whitening fitted on its items with training interactions."""
    sources = dict.fromkeys([*joined_sources, encoder])
    white = {name: raw[name] if name == "labels" else whitened(raw[name], part.train) for name in sources}
    methods = warm_methods(white[encoder], side_by_side([white[name] for name in joined_sources]))
    if timed:
        methods |= timed_methods(white[encoder])
    return {name: method for name, method in methods.items() if name not in left_out}


def compare_on_splits(
    methods: Sequence[Mapping[str, Method]], parts: Sequence[Split], trials: int, k: int = 10
) -> dict[str, list[Outcome]]:
    """``compare_methods`` on every split, its number as the seed; only the models of the first are kept."""
    outcomes: dict[str, list[Outcome]] = {}
    for seed, (part, found) in enumerate(zip(parts, methods, strict=True)):
        done = compare_methods(found, warm_task(part), trials, seed, k, keep_models=seed == 0)
        for name, outcome in done.items():
            outcomes.setdefault(name, []).append(outcome)
    return outcomes


def reference_of(outcomes: Mapping[str, Sequence[Outcome]], reads: Mapping[str, str]) -> str:
    """EASE, or where it was left out the best method that reads interactions only."""
    if "EASE" in outcomes:
        return "EASE"
    return best_of(averaged(outcomes), [name for name in outcomes if reads[name] == "interactions"])


def hybrid_questions(outcomes: Mapping[str, Sequence[Outcome]]) -> dict[str, tuple[str, str]]:
    """Every method with text against the one it extends, where both took part."""
    return {n: (n, base) for n, base in HYBRIDS.items() if n in outcomes and base in outcomes}


def summary(found: Mapping[str, Evaluation], reads: Mapping[str, str]) -> pd.DataFrame:
    """A row of metrics for each method, best NDCG first."""
    table = pd.DataFrame({name: e.mean() for name, e in found.items()}).T
    table = table[["ndcg", "recall", "precision", "mrr", "hit_rate"]].sort_values("ndcg", ascending=False)
    table.insert(0, "reads", [reads[name] for name in table.index])
    return table


def gap_closed(ndcg: pd.Series, reads: Mapping[str, str], reference: str) -> dict[str, float]:
    """The fraction of the NDCG between text alone and the reference that other methods of text close, best
    first.
    """
    if "text" not in ndcg or ndcg[reference] == ndcg["text"]:
        return {}
    gap = ndcg[reference] - ndcg["text"]
    names = [n for n in ndcg.index if reads[n] == "text" and n != "text"]
    return dict(sorted(((n, (ndcg[n] - ndcg["text"]) / gap) for n in names), key=lambda pair: -pair[1]))


def catalogue_effects(
    outcomes: Mapping[str, Sequence[Outcome]], names: Sequence[str], part: Split, words: np.ndarray
) -> pd.DataFrame:
    """What the lists of the first split do to the catalogue; diversity is measured in ``words``, which none
    optimizes.
    """
    train = part.with_validation().train
    rows = {
        name: metrics.of_catalogue(outcomes[name][0].test.ids, train, outcomes[name][0].test.users, words)
        for name in names
        if name in outcomes
    }
    return pd.DataFrame(rows).T


def costs(
    outcomes: Mapping[str, Sequence[Outcome]], methods: Mapping[str, Method], part: Split, k: int = 10
) -> pd.DataFrame:
    """Of the first split's models: seconds of a fit, milliseconds to score and rank a user in batches, bytes
    an item.
    """
    whole, rows = part.with_validation(), {}
    users = np.flatnonzero(np.diff(whole.test.indptr))
    for name, done in outcomes.items():
        model = done[0].model
        assert model is not None
        rank = partial(evaluation.recommend, model, whole.train, users, k)
        once = timing.measure(rank, min_samples=2, min_seconds=0, warmup=0)
        rows[name] = {
            "fit s": float(np.median([o.fit_s for o in done])),
            "ms per user": 1e3 * once.p50 / len(users),
            "bytes per item": stored_bytes(model) / whole.train.shape[1],
            f"ndcg@{k}": averaged({name: done})[name].mean()["ndcg"],
        }
    return pd.DataFrame(rows).T.sort_values(f"ndcg@{k}", ascending=False)


def text_controls(items: Dataset, encoder: str, part: Split, trials: int, k: int = 10) -> pd.DataFrame:
    """Item texts that lack one thing each: their quality alone, and what they add to EASE at the same tuned
    λ.

    Random vectors stand beside them. ``relative`` and ``answer``: see ``answers``, against EASE.
    """
    texts = {name: encode(items, encoder, text) for name, text in control_texts(items).items()}
    texts[CONTROL] = (
        np.random.default_rng(0).standard_normal(next(iter(texts.values())).shape).astype(np.float32)
    )
    ease = Method(EASE, EASE_SPACE)
    white = {name: whitened(v, part.with_validation().train) for name, v in texts.items()}
    methods = {"EASE": ease} | {name: text_prior(v, ease) for name, v in white.items()}
    done = compare_methods(methods, warm_task(part), trials, 0, k, keep_models=False)
    found = {name: outcome.test for name, outcome in done.items()}
    table = answers(found, {name: (name, "EASE") for name in white})
    table = table.rename(columns={"NDCG gained": "added to EASE"}).drop(columns=["Holm p", "equivalence p"])
    table.insert(0, "text alone", [_profile(v, part, k).mean()["ndcg"] for v in white.values()])
    return table


def other_protocols(
    outcomes: Mapping[str, Sequence[Outcome]], names: Sequence[str], methods: Mapping[str, Method],
    part: Split, last: Split | None, k: int = 10,
) -> pd.DataFrame:  # fmt: skip
    """NDCG of the first split's tuned methods in full ranking, among 100 sampled items and with
    leave-one-out.

    All three average over users. Leave-one-out (``last``) refits the method at the parameters chosen before.
    """
    whole = part.with_validation()
    known, rows = known_users(whole.test, whole.train), {}
    for name in [n for n in names if n in outcomes]:
        outcome = outcomes[name][0]
        sampled = evaluation.evaluate_sampled(outcome.model, whole.train, known, 100, k)  # type: ignore[arg-type]
        rows[name] = {"full": outcome.test.mean()["ndcg"], "sampled": sampled["ndcg"]}
        if last is not None:
            train = last.with_validation().train
            model = checks.fit(methods[name].make(**outcome.parameters), train)
            rows[name]["leave-one-out"] = evaluation.evaluate(model, train, last.test, k).mean()["ndcg"]
    return pd.DataFrame(rows).T


def against_published(
    outcomes: Mapping[str, Sequence[Outcome]],
    methods: Sequence[Mapping[str, Method]],
    parts: Sequence[Split],
    protocol: str,
) -> pd.DataFrame:
    """Published values of the protocol, lowest and highest, beside ours at the same cut; empty where none is
    known.
    """
    theirs = pd.DataFrame(cost.published()["ranking"])
    theirs = theirs[(theirs["protocol"] == protocol) & theirs["method"].isin(outcomes)]
    rows = {}
    for (name, metric, cut), group in theirs.groupby(["method", "metric", "k"], sort=False):
        ours = [_at_cut(outcomes[name][i], methods[i][name], part, int(cut)) for i, part in enumerate(parts)]
        value = evaluation.average(ours).mean()[metric]
        low, high = group["value"].min(), group["value"].max()
        rows[f"{name} {metric}@{cut}"] = {
            "min": low,
            "max": high,
            "ours": value,
            "ours / highest": value / high,
        }
    return pd.DataFrame(rows).T


def _at_cut(outcome: Outcome, method: Method, part: Split, cut: int) -> Evaluation:
    if outcome.test.k == cut:
        return outcome.test
    whole = part.with_validation()
    model = outcome.model or checks.fit(method.make(**outcome.parameters), whole.train, whole.train_times)
    return evaluation.evaluate(model, whole.train, known_users(whole.test, whole.train), cut)
