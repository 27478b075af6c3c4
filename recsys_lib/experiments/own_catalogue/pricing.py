"""What a user's measured qualities and traffic come to in dollars: the decision of notebook 16 for their
catalogue.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_lib import cost, evaluation
from recsys_lib.core.errors import InputError, did_you_mean
from recsys_lib.cost import Decision, MethodQuality, Service
from recsys_lib.cost.choose import USD_PER_POINT
from recsys_lib.cost.recorded_fractions import default_assumptions
from recsys_lib.data.datasets import Dataset
from recsys_lib.experiments.own_catalogue.compare_methods import Compared, Result, held_with, last_ndcg
from recsys_lib.experiments.own_catalogue.conclusion import Conclusion, best
from recsys_lib.experiments.own_catalogue.sources import CHEAP, COLLABORATIVE, LANGUAGE

# Bootstrap samples of users; the draws of ``cost.decide`` pick among them.
SAMPLES = 200
# Of each kind of text, the conclusions that rule out a gain by it that matters.
RULED_OUT = {CHEAP: ("none",), LANGUAGE: ("none", "cheap")}
# Tokens in a word of running text, about.
TOKENS_PER_WORD = 1.3
MAX_TOKENS = 512
SECONDS_PER_DAY = 86_400
# The deployment option of ``cost.OPTIONS`` that serves each collaborative filtering. iALS scans factors, at
# most as wide as these static vectors.
DEPLOYMENTS = {
    "popularity": "popularity",
    "recent popularity": "popularity",
    "ItemKNN": "ItemKNN",
    "EASE": "EASE top 200",
    "iALS": "static vectors",
}


@dataclass(frozen=True)
class Traffic:
    """The user's traffic.

    requests_per_s: lists a second at the peak. latency_ms: limit of the latency's 99th percentile.
    new_items_per_day: None for as many as the data shows. usd_per_point: US dollars that 0.01 NDCG is worth
    per million lists.
    """

    requests_per_s: float = 10.0
    latency_ms: float = 100.0
    new_items_per_day: float | None = None
    usd_per_point: float = USD_PER_POINT


def read_traffic(given: Mapping[str, Any] | None = None) -> Traffic:
    """The user's numbers, or texts of them, over the defaults.

    >>> read_traffic({"requests_per_s": "50"}).requests_per_s
    50.0

    Raises:
        InputError: an unknown name, no finite number, or one out of range.
    """
    values: dict[str, Any] = {}
    known = [f.name for f in fields(Traffic)]
    for name, value in (given or {}).items():
        if name not in known:
            hint = did_you_mean(str(name), known)
            raise InputError(f"traffic: no number {name!r}; {hint}expected names among {', '.join(known)}")
        positive = name in ("requests_per_s", "latency_ms")
        try:
            number = float("nan") if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if not math.isfinite(number) or number < 0 or (positive and number == 0):
            least = "above 0" if positive else "of at least 0"
            raise InputError(f"traffic: {name}={value!r}: expected a finite number {least}")
        values[name] = number
    return Traffic(**values)


def service_of(
    data: Dataset, texts: Sequence[str], traffic: Traffic, cold_requests: float | None = None
) -> Service:
    """The service to decide for: the user's traffic, and the catalogue as the files show it.

    New items a day, where not given, are as many as first occur in a day of the last fifth of the data's
    time. cold_requests: fraction of the requests for cold items; None where no test by time measured it.
    """
    written = [len(text.split()) for text in texts if text]
    tokens = max(1, math.ceil(TOKENS_PER_WORD * float(np.mean(written)))) if written else 1
    new = traffic.new_items_per_day
    return Service(
        users=data.n_users,
        requests_per_s=traffic.requests_per_s,
        items=data.n_items,
        new_items_per_day=_new_items_per_day(data) if new is None else new,
        latency_limit_s=traffic.latency_ms / 1000,
        text_tokens=min(MAX_TOKENS, tokens),
        cold_requests=cold_requests,
    )


def _new_items_per_day(data: Dataset) -> float:
    """Items whose first interaction lies in the last fifth of the data's time, per day of it; 0 without
    times.
    """
    if data.timestamp is None:
        return 0.0
    first = np.full(data.n_items, np.iinfo(np.int64).max)
    np.minimum.at(first, data.item, data.timestamp)
    start, end = float(data.timestamp.min()), float(data.timestamp.max())
    days = (end - start) / 5 / SECONDS_PER_DAY
    late = (first >= end - (end - start) / 5) & (first <= end)
    return float(late.sum() / days) if days >= 1 else 0.0


@dataclass(frozen=True)
class System:
    """A method for warm items and one for cold items; ``ruled_out``: the tests rule out that its text gains
    what matters.
    """

    quality: MethodQuality
    ruled_out: bool = False


def systems(compared: Compared, conclusion: Conclusion, encoder: str) -> dict[str, System]:
    """Complete systems by name, with their qualities, bootstrap samples and deployment option.

    Every collaborative filtering alone (cold items by chance); the best of it with cold items ranked by the
    best cheap text, and by the best language model; and the best method that reads each kind of text for
    warm items too. "Best" is by the validation part. The warm quality is of the last split's test
    interactions with warm items.
    """
    warm, cold = compared.warm, compared.cold
    is_warm = np.asarray(compared.split.train.sum(axis=0)).ravel() > 0
    held = held_with(compared.split, is_warm)
    found = {
        name: System(_quality(held, DEPLOYMENTS[name], result, cold.get("chance")))
        for name, result in warm.items()
        if result.kind == COLLABORATIVE
    }
    filtering, encoded = best(warm, COLLABORATIVE), _encoder_options(encoder)
    for kind in (CHEAP, LANGUAGE):
        ranked, reads = best(cold, kind), best(warm, kind)
        served = "EASE + TF-IDF and metadata map" if kind == CHEAP else encoded["map"]
        cold_out = conclusion.cold in RULED_OUT[kind]
        if filtering and ranked:
            quality = _quality(held, served, warm[filtering], cold[ranked])
            found[f"{filtering}; cold items by {ranked}"] = System(quality, cold_out)
        if reads and ranked:
            scan = "static vectors" if kind == CHEAP else encoded["scan"]
            option = served if reads.startswith("EASE") else scan
            quality = _quality(held, option, warm[reads], cold[ranked])
            out = cold_out or conclusion.warm in RULED_OUT[kind]
            found[f"{reads}; cold items by {ranked}"] = System(quality, out)
    return found


def _encoder_options(encoder: str) -> dict[str, str]:
    """The options that serve vectors of an encoder: in a scan, and mapped to EASE's columns.

    Static vectors have their own; other encoders, and vectors that a user brings, are priced as MiniLM.
    """
    if encoder == "wordllama":
        return {"scan": "static vectors", "map": "EASE + TF-IDF and metadata map"}
    if encoder == "e5":
        return {"scan": "MiniLM", "map": "EASE + all encoders and metadata map"}
    return {"scan": "MiniLM", "map": "EASE + MiniLM map"}


def _quality(held: sp.csr_matrix, option: str, warm: Result, cold: Result | None) -> MethodQuality:
    of_warm = last_ndcg(warm, held)
    of_cold = np.empty(0) if cold is None else cold.test.per_user["ndcg"]
    return MethodQuality(option, _mean(of_warm), _mean(of_cold), _samples(of_warm), _samples(of_cold))


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _samples(values: np.ndarray) -> np.ndarray:
    """Means of bootstrap samples of the users ``[SAMPLES]``, the same users for every method."""
    return evaluation.resampled_means(values, SAMPLES) if len(values) else np.empty(0)


def decide(
    compared: Compared,
    conclusion: Conclusion,
    service: Service,
    encoder: str,
    usd_per_point: float = USD_PER_POINT,
    draws: int = 200,
) -> tuple[Decision, Decision]:
    """Systems ranked by what their quality earns less what serving costs (``cost.decide``): those that the
    tests leave, and all.

    A system whose text was shown not to gain what matters is priced in the second, and not chosen in the
    first: a difference within the noise of the test would decide between bills that are equal. A user's
    history is as long as in the data. Without a measured cold quality (too few items or no text) only warm
    items count.

    Raises:
        InputError: a number out of its range.
    """
    history = compared.split.train.nnz / max(1, np.count_nonzero(np.diff(compared.split.train.indptr)))
    assumptions = default_assumptions().change(history=max(1, round(history)))
    there = service if compared.cold else service.change(cold_requests=0.0)
    every = systems(compared, conclusion, encoder)
    qualities = {name: system.quality for name, system in every.items()}
    left = {name: qualities[name] for name, system in every.items() if not system.ruled_out}
    among = f"among the {len(left)} systems that the tests leave" if len(left) < len(every) else ""
    chosen = cost.decide(left, there, usd_per_point, assumptions, draws, among=among)
    priced = cost.decide(qualities, there, usd_per_point, assumptions, draws=1)
    return replace(chosen, sentence=chosen.sentence + excluded(chosen, priced)), priced


def excluded(chosen: Decision, priced: Decision) -> str:
    """The system that earns more than the chosen one and was left out, in a sentence; empty without one."""
    first, best = priced.best, chosen.best
    if first is None or best is None or first.name in {option.name for option in chosen.ranked}:
        return ""
    by = priced.lead(first, best)
    return (
        f" Left out, as the tests rule out that its text gains what matters: {first.name}, which would earn "
        f"{by} more{' (not decided)' if by and by.tied else ''}."
    )
