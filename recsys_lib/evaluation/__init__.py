"""How good is a ranking, and is the difference real: splits, metrics, full ranking, tuning and paired tests."""

from recsys_lib.evaluation.ranking import Evaluation, by_count, evaluate, evaluate_sampled, recommend, restrict
from recsys_lib.evaluation.statistics import Comparison, average, compare, holm, p_text

__all__ = [
    "Comparison", "Evaluation", "average", "by_count", "compare", "evaluate", "evaluate_sampled", "holm", "p_text", "recommend", "restrict",
]  # fmt: skip
