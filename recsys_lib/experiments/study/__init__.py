"""The ranking study: protocols, item vectors and their controls, contenders with search spaces, equal budgets."""

from recsys_lib.evaluation.protocols import PROTOCOLS, dataset_of, split_of
from recsys_lib.evaluation.tuning import (
    Contender,
    Outcome,
    Trial,
    cold_validation,
    judge,
    judge_cold,
    known_users,
    points,
    stored_bytes,
    tune,
)
from recsys_lib.experiments.study.item_texts import control_texts, encode, side_by_side, whitened
from recsys_lib.experiments.study.methods import (
    EASE_MAP_SPACE,
    EASE_SPACE,
    PRIOR_SPACE,
    cold_contenders,
    contenders,
    timed_contenders,
)

__all__ = [
    "EASE_MAP_SPACE",
    "EASE_SPACE",
    "PRIOR_SPACE",
    "PROTOCOLS",
    "Contender",
    "Outcome",
    "Trial",
    "cold_contenders",
    "cold_validation",
    "contenders",
    "control_texts",
    "dataset_of",
    "encode",
    "judge",
    "judge_cold",
    "known_users",
    "points",
    "side_by_side",
    "split_of",
    "stored_bytes",
    "timed_contenders",
    "tune",
    "whitened",
]
