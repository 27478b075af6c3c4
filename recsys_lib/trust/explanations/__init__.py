"""Why was this recommended: exact reasons of linear models, counterfactuals, and tests of any reason's
faithfulness.

``contributions`` splits a score over the history, ``counterfactual`` finds the smallest part of it that an
item needs, ``faithfulness`` tests an order of reasons by deletion and insertion, ``words`` attributes a
text's score to its words and fields, ``sentences`` writes a reason for a user, ``rationale`` lets a language
model write one, ``support`` counts whom a reason reveals,
``yes_no_reasons`` attributes a language model's score to the history.
"""

from recsys_lib.trust.explanations.contributions import Contributions, contributions, weights_between
from recsys_lib.trust.explanations.counterfactual import Counterfactual, counterfactual
from recsys_lib.trust.explanations.partial_history import one_history, rank_of, without

__all__ = [
    "Contributions",
    "Counterfactual",
    "contributions",
    "counterfactual",
    "one_history",
    "rank_of",
    "weights_between",
    "without",
]
