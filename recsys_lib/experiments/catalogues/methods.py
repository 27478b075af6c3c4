"""Every method on one catalogue with equal budgets, and what text gained on it, with intervals.

Three gains, each of a method that the validation part chose and each tested over users: *warm*, the best
method that reads text (blended into collaborative filtering, inside EASE, or alone) over the best
collaborative filtering; *language*, the linear map from MiniLM to EASE's columns over the one from TF-IDF,
cold items only; *cold*, the better of these two over chance, in NDCG.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from recsys_lib import evaluation
from recsys_lib.data.datasets import Dataset
from recsys_lib.evaluation import Evaluation
from recsys_lib.experiments.catalogues import protocol
from recsys_lib.experiments.own_catalogue.compare_methods import Compared, Result, compare_methods
from recsys_lib.experiments.own_catalogue.sources import COLLABORATIVE, encode_sources
from recsys_lib.experiments.study.tables import bootstrap_record

TRIALS, K = 5, 10
ENCODER = "minilm"
TFIDF_MAP, LANGUAGE_MAP = "TF-IDF, mapped", f"{ENCODER}, mapped"


def measure(name: str) -> dict[str, Any]:
    """Metrics of every method on a catalogue of ``protocol.CATALOGUES``, what describes it, and the gains."""
    return measure_data(protocol.catalogue(name), draws=protocol.CATALOGUES[name].draws)


def measure_data(
    data: Dataset, trials: int = TRIALS, draws: int = 2, encoder: str = ENCODER
) -> dict[str, Any]:
    """As ``measure``, for any data set."""
    columns = protocol.text_columns(data)
    timed, parts = protocol.warm_parts(data)
    sources = encode_sources(data, columns, encoder=encoder)
    compared = compare_methods(timed, sources, seeds=draws, trials=trials, k=K, parts=parts)
    described = protocol.describe(data, data.item_texts(columns), parts[0])
    return {
        "catalogue": described,
        "warm": _means(compared.warm),
        "cold": _means(compared.cold),
        "test users": {
            kind: len(next(iter(results.values())).test.users)
            for kind, results in (("warm", compared.warm), ("cold", compared.cold))
        },
        "gains": gains(compared),
        "bootstrap": {
            "warm": bootstrap_record(_tests(compared.warm)),
            "cold": bootstrap_record(_tests(compared.cold)),
        },
        "seconds": compared.seconds,
    }


def _tests(results: Mapping[str, Result]) -> dict[str, Evaluation]:
    return {name: result.test for name, result in results.items()}


def _means(results: Mapping[str, Result]) -> dict[str, dict[str, Any]]:
    """NDCG and recall of every method, its validation NDCG, what it reads, and the point chosen last."""
    found = {}
    for name, result in results.items():
        mean = result.test.mean()
        found[name] = {
            "ndcg": mean["ndcg"],
            "recall": mean["recall"],
            "validation": result.validation,
            "kind": result.kind,
            "parameters": dict(result.parameters),
        }
    return found


def best(results: Mapping[str, Result], names: Iterable[str]) -> str:
    """The name with the highest validation NDCG."""
    return max(names, key=lambda name: results[name].validation)


def gains(compared: Compared) -> dict[str, dict[str, Any]]:
    """The three gains of the module's docstring: which pair, relative gain, difference of NDCG with its 95%
    bootstrap interval over users, Holm's p over the three.
    """
    warm, cold = compared.warm, compared.cold
    filtering = [name for name, result in warm.items() if result.kind == COLLABORATIVE]
    pairs = {"warm": (warm, best(warm, set(warm) - set(filtering)), best(warm, filtering))}
    if LANGUAGE_MAP in cold and TFIDF_MAP in cold:
        pairs["language"] = (cold, LANGUAGE_MAP, TFIDF_MAP)
        pairs["cold"] = (cold, best(cold, (LANGUAGE_MAP, TFIDF_MAP)), "chance")
    found = {name: _gain(results[a].test, results[b].test, a, b) for name, (results, a, b) in pairs.items()}
    adjusted = evaluation.holm([gain["p"] for gain in found.values()])
    return {
        name: gain | {"Holm p": float(p)} for (name, gain), p in zip(found.items(), adjusted, strict=True)
    }


def _gain(a: Evaluation, b: Evaluation, name: str, base: str) -> dict[str, Any]:
    test, mean = evaluation.compare(a, b), b.mean()["ndcg"]
    return {
        "method": name,
        "base": base,
        "relative": test.difference / mean if mean > 0 else None,
        "relative low": test.low / mean if mean > 0 else None,
        "relative high": test.high / mean if mean > 0 else None,
        "difference": test.difference,
        "low": test.low,
        "high": test.high,
        "p": test.p_value,
    }
