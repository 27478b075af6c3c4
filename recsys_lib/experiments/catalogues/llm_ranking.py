"""Language models that rank, on every catalogue: the best candidates of a tuned first stage, reordered by
SmolLM2, which is asked for yes or no, and by a cross-encoder; each alone, and fused with the first stage.

Two first stages: of all items the collaborative method that the validation part prefers; of cold items the
map from MiniLM to EASE's columns (the first draw). They are tuned as in ``evaluated_methods``. Map and models
read the same texts, ``protocol.beginnings``. The budget below was fixed before any list was reordered, and is
the same for every catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from recsys_lib import recommenders
from recsys_lib.data.datasets import Dataset
from recsys_lib.evaluation import tuning
from recsys_lib.evaluation.splits import Split
from recsys_lib.evaluation.tuning import Method
from recsys_lib.experiments.catalogues import evaluated_methods, protocol
from recsys_lib.experiments.catalogues.evaluated_methods import ENCODER, LANGUAGE_MAP, TRIALS, K
from recsys_lib.experiments.own_catalogue.chosen_methods import SharedEASE
from recsys_lib.experiments.own_catalogue.compare_methods import cold_splits
from recsys_lib.experiments.own_catalogue.sources import LANGUAGE, Source
from recsys_lib.experiments.reranking import reranking_study
from recsys_lib.experiments.reranking.candidates import Candidates, Catalogue, cold_lists, warm_lists
from recsys_lib.experiments.reranking.reranking_study import Case
from recsys_lib.experiments.study.item_texts import encode
from recsys_lib.experiments.study.search_spaces import EASE_MAP_SPACE

# Lists that are tested, lists that the weight of the fusion is tuned on, candidates of a list, and entries of
# a history.
USERS, VALIDATION, DEPTH, HISTORY = 30, 10, 20, 5
# Method and precision of each model.
MODELS = {"smollm2": ("yes/no", "bfloat16"), "ms-marco": ("cross-encoder", "int8")}

Lists = tuple[str, Candidates, Candidates]


def measure(name: str) -> dict[str, Any]:
    """Every model on both first stages of a catalogue of ``protocol.CATALOGUES``."""
    return measure_data(protocol.catalogue(name), protocol.CATALOGUES[name].kind)


def measure_data(
    data: Dataset, kind: str, trials: int = TRIALS, models: Mapping[str, tuple[str, str]] = MODELS,
    encoder: str = ENCODER,
) -> dict[str, Any]:  # fmt: skip
    """As ``measure``, for any data set, whose items prompts call a ``kind`` of ``prompts.KINDS``.

    The result holds, by "warm" and "cold" and by model, the metrics of ``reranking_study.measure_case``,
    with every user's values and the core seconds of a list.
    """
    source = Catalogue(data.name, kind, data, protocol.beginnings(data), data.item_texts(("title",)))
    budget = {"users": USERS, "validation": VALIDATION, "depth": DEPTH, "history": HISTORY}
    found: dict[str, Any] = {"budget": budget | {"words": protocol.FIRST_WORDS}}
    for stage, (name, validation, test) in first_stages(data, trials, encoder).items():
        found[stage] = {"first stage": name}
        for model, (method, precision) in models.items():
            case = Case(data.name, name, model, method, USERS, VALIDATION, precision, history=HISTORY,
                        depth=DEPTH)  # fmt: skip
            found[stage][model] = reranking_study.measure_case(case, source, validation, test)
    return found


def first_stages(data: Dataset, trials: int, encoder: str = ENCODER) -> dict[str, Lists]:
    """By "warm" and "cold": the tuned first stage's name, its lists on validation part and test."""
    timed, parts = protocol.warm_parts(data)
    _, base, make = evaluated_methods.collaborative_outcomes(timed, parts[0], trials)
    found = {"warm": (base, *warm_lists(make, parts[0], USERS, VALIDATION, 0, DEPTH))}
    for seed, part in cold_splits(data, 1):
        made = cold_map(data, part, seed, trials, encoder)
        found["cold"] = (LANGUAGE_MAP, *cold_lists(made, part, USERS, VALIDATION, seed, DEPTH))
    return found


def cold_map(
    data: Dataset, part: Split, seed: int, trials: int, encoder: str = ENCODER
) -> Callable[[], recommenders.Recommender]:
    """What makes the map from an encoder's vectors to EASE's columns, at its point tuned on a cold split."""
    vectors = Source(LANGUAGE, encode(data, encoder, protocol.beginnings(data))).centred(part.train)
    shared, task = SharedEASE(), tuning.cold_task(part, seed)
    method = Method(lambda **p: recommenders.EASEMap(vectors, columns=shared, **p), EASE_MAP_SPACE)
    best = tuning.tune(
        method, task.train, task.validation, trials, seed, k=K, candidates=task.candidates
    )[0].parameters  # fmt: skip
    return lambda: method.make(**best)
