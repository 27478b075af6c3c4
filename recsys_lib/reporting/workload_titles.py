"""Titles of the figures on hardware, with the numbers of the records that are drawn."""

from __future__ import annotations

import pandas as pd


def encoder_of_a_request(share: pd.Series) -> str:
    """Which fraction of a request the encoder takes, in eager torch and in our C.

    share: fraction by a row's name, whose last part is the encoder with its backend and precision.
    """
    transformers = [name for name in share.index if name[-1] != "wordllama"]
    ours = share[[name for name in transformers if "native" in name[-1]]]
    eager = share[[name for name in transformers if "native" not in name[-1]]]
    return (
        f"In eager torch the encoder takes {eager.min():.0%} to {eager.max():.0%} of a request, "
        f"in 8 bits of our own C {ours.min():.0%} to {ours.max():.0%}"
    )


def distance_to_the_roof(bounds: pd.DataFrame) -> str:
    """The point nearest to its bound, and the median; ``bounds`` as ``workload_tables.bounds`` gives it."""
    ratio = bounds["time / bound"]
    nearest = bounds.loc[ratio.idxmin()]
    return (
        f"Under the roof there is room: {nearest['work']} in {nearest['precision']} comes nearest, "
        f"at {ratio.min():.2f} times its bound; half of the points take more than {ratio.median():.1f} times"
    )
