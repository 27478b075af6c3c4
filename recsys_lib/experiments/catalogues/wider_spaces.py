"""Does text's gain on warm items rest on where the search spaces ended? The methods of ``evaluated_methods``
again, with twice as many trials in spaces that go on where a method had chosen the edge.
"""

from __future__ import annotations

import time
from typing import Any

from recsys_lib.experiments.catalogues import evaluated_methods, protocol
from recsys_lib.experiments.catalogues.evaluated_methods import ENCODER, Spaces
from recsys_lib.experiments.own_catalogue.sources import encode_sources
from recsys_lib.experiments.study import search_spaces

TRIALS = 2 * evaluated_methods.TRIALS
# Those on which ItemKNN had chosen the largest shrinkage.
CATALOGUES = (
    "ml-100k",
    "articles",
    "citeulike-a-abstracts",
    "stackexchange",
    "amazon-industrial-and-scientific",
)
WIDE = Spaces(
    item_knn={**search_spaces.ITEM_KNN_SPACE, "shrinkage": [0.0, 10.0, 30.0, 100.0, 300.0, 1000.0]},
    ials={
        **search_spaces.IALS_SPACE,
        "factors": [16, 32, 64, 128, 256],
        "alpha": [1.0, 2.0, 5.0, 10.0, 20.0, 40.0],
    },
    ease={"regularization": [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0]},
    recent={"half_life_days": [1.0, 3.0, 7.0, 15.0, 30.0, 60.0, 120.0, 240.0]},
    weights={"weight": [0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4]},
    prior={"weight": [0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0], "sharpness": [1.0, 2.0]},
)


def measure(name: str, trials: int = TRIALS, spaces: Spaces = WIDE) -> dict[str, Any]:
    """Metrics of every warm method in the wide spaces, which edges were chosen there, and the warm gain."""
    data = protocol.catalogue(name)
    timed, parts = protocol.warm_parts(data)
    sources = encode_sources(data, protocol.text_columns(data), encoder=ENCODER)
    start = time.process_time()
    warm, filtering = evaluated_methods.warm_outcomes(timed, parts[0], sources, trials, spaces)
    return {
        "trials": trials,
        "warm": evaluated_methods.means({method: [outcome] for method, outcome in warm.items()}),
        "edges": {method: list(outcome.edges) for method, outcome in warm.items() if outcome.edges},
        "gain": evaluated_methods.gains(warm, filtering, {})["warm"],
        "cpu_s": round(time.process_time() - start, 1),
    }
