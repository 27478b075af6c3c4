"""The ranking study: protocols, item vectors and their controls,
methods with search spaces, equal budgets.
"""

from recsys_lib.evaluation.protocols import PROTOCOLS, dataset_of, split_of
from recsys_lib.evaluation.tuning import (
    Method,
    Outcome,
    Trial,
    cold_validation,
    known_users,
    points,
    stored_bytes,
    tune,
    tune_and_evaluate,
    tune_and_evaluate_cold,
)
from recsys_lib.experiments.study.item_texts import control_texts, encode, side_by_side, whitened
from recsys_lib.experiments.study.methods import (
    EASE_MAP_SPACE,
    EASE_SPACE,
    PRIOR_SPACE,
    cold_methods,
    timed_methods,
    warm_methods,
)

__all__ = [
    "EASE_MAP_SPACE",
    "EASE_SPACE",
    "PRIOR_SPACE",
    "PROTOCOLS",
    "Method",
    "Outcome",
    "Trial",
    "cold_methods",
    "cold_validation",
    "control_texts",
    "dataset_of",
    "encode",
    "known_users",
    "points",
    "side_by_side",
    "split_of",
    "stored_bytes",
    "timed_methods",
    "tune",
    "tune_and_evaluate",
    "tune_and_evaluate_cold",
    "warm_methods",
    "whitened",
]
