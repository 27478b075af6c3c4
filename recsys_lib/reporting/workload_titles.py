"""Titles of the figures on hardware, with the numbers of the records that are drawn."""

from __future__ import annotations

from typing import Any

import pandas as pd

from recsys_lib.benchmarks.workloads import growth_exponents
from recsys_lib.hardware import machine


def ladder(name: str, roof: machine.Ceilings) -> str:
    """How much faster the nearest cache reads than memory."""
    rates = [roof.read_by_size[size] for size in sorted(roof.read_by_size)]
    return f"{name} reads {rates[0] / rates[-1]:.1f} times as fast from its nearest cache as from memory"


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
        f"Nearest to the roofline: {nearest['workload']} in {nearest['precision']}, "
        f"at {ratio.min():.2f} times its bound; half of the points take more than {ratio.median():.1f} times"
    )


def growth(group: str, rows: list[dict[str, Any]]) -> str:
    """The fitted exponent of time of each series of a panel."""
    fits = (f"{r['workload'].split(', ')[-1]} n^{growth_exponents.exponents(r)['time']:.2f}" for r in rows)
    return f"{group}: {', '.join(fits)}"


def backward_pass(trained: pd.DataFrame) -> str:
    """Which fraction of training by gradient is its backward pass.

    trained: ``workload_tables.phases``.
    """
    backward = (trained["backward"] / trained["total"]).dropna()
    return (
        f"The backward pass takes {backward.min():.0%} to {backward.max():.0%} of training by gradient; "
        "EASE has none"
    )
