"""How good is a ranking, and is the difference real: splits, metrics, full ranking,
tuning and paired tests.
"""

from recsys_lib.evaluation.ranking import (
    Evaluation,
    by_count,
    evaluate,
    evaluate_lists,
    evaluate_sampled,
    recommend,
    restrict,
)
from recsys_lib.evaluation.statistics import (
    Comparison,
    Equivalence,
    auc_interval,
    average,
    bootstrap_means,
    compare,
    equivalent,
    holm,
    p_text,
    resampled_means,
)

__all__ = [
    "Comparison",
    "Equivalence",
    "Evaluation",
    "auc_interval",
    "average",
    "bootstrap_means",
    "by_count",
    "compare",
    "equivalent",
    "evaluate",
    "evaluate_lists",
    "evaluate_sampled",
    "holm",
    "p_text",
    "recommend",
    "resampled_means",
    "restrict",
]
