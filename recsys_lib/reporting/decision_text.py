"""Sentences of a decision whose numbers are computed: titles of figures and takeaways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from recsys_lib.cost.choose import Decision, with_and_without
from recsys_lib.cost.decision_map import DecisionMap, TornadoRow
from recsys_lib.cost.deployments import Deployment
from recsys_lib.cost.units import two_digits
from recsys_lib.cost.validation import Check, summary

# Rows of the tornado that are drawn.
TORNADO_ROWS = 10


def map_title(name: str, found: DecisionMap) -> str:
    """What the map shows: how much of it the first option covers."""
    share = float((found.best == found.names.index(found.winners[0])).mean())
    some = f"{len(found.winners)} options lead somewhere"
    return f"{name}: {found.winners[0]} is best in {share:.0%} of the map; {some}"


def regret_title(found: DecisionMap) -> str:
    """What the second best loses, in the median."""
    lost = two_digits(float(np.median(found.regret)))
    return f"Taking the second best loses ${lost} per million lists in the median"


def services_title(placed: Mapping[str, Sequence], expensive: str, cheap: str, subject: str) -> str:
    """How many times as much one option costs as another, over all services; ``subject`` names the first
    in words.
    """
    ratios = []
    for deployments in placed.values():
        by = {one.name: one.usd_per_month for one in deployments}
        ratios.append(by[expensive] / by[cheap])
    low, high = two_digits(min(ratios)), two_digits(max(ratios))
    return f"{subject} costs {low} to {high} times as much as {cheap}"


def dollars_label(placed: Mapping[str, Sequence[Deployment]], shown: Sequence[str]) -> str:
    """The label of the axis, which explains the arrows where there are any."""
    bounds = any(one.basis == "bound" for row in placed.values() for one in row if one.name in shown)
    return "USD per million lists" + (" (arrow: a lower bound)" if bounds else "")


def tornado_title(rows: Sequence[TornadoRow], best: str) -> str:
    """How many of the inputs shown change the choice."""
    rows = rows[:TORNADO_ROWS]
    flips = sum(row.flips for row in rows)
    says = (
        f"gives way to another option with {flips} of the {len(rows)} inputs shown"
        if flips
        else "stays the best"
    )
    return f"{best} {says}"


def forecasts_title(groups: Mapping[str, Sequence[Check]]) -> str:
    """Median and worst factor over all checks."""
    every = [check for checks in groups.values() for check in checks]
    middle, worst = summary(every)
    return (
        f"Over {len(every)} checks, forecasts are off by a factor of {middle:.2f} in the median and "
        f"{worst:.1f} at worst"
    )


def takeaways(decisions: Mapping[str, Decision], checks: Sequence[Check]) -> list[str]:
    """What each service should do, what a language model adds there, and how far to trust the numbers."""
    found = []
    for name, decision in decisions.items():
        model, cheap, without = with_and_without(decision)
        best = decision.best
        if best is None or without is None:
            found.append(f"{name}: {decision.sentence}")
            continue
        sure = f"the best with probability {decision.rival_probabilities[0]:.0%}, near duplicates counted"
        if decision.rival:
            ours, theirs = decision.rival_probabilities
            sure = (
                f"not to be told apart from {decision.rival.name} at {decision.rival.usd_text} "
                f"(best in {ours:.0%} and {theirs:.0%} of the draws)"
            )
        text = f"{name}: {best.name} at {best.usd_text} a month, {sure}"
        for label, other in (("text without a language model", cheap), ("no text", without)):
            if model is None or other is None:
                continue
            assert model.net_usd_per_month is not None and other.net_usd_per_month is not None
            gain = model.net_usd_per_month - other.net_usd_per_month
            text += (
                f"; a language model is worth ${two_digits(gain)} a month more than {label} ({other.name})"
            )
        found.append(text + ".")
    middle, worst = summary(checks)
    found.append(
        f"The cost model is off, over {len(checks)} checks against measured times and prices, by a factor of "
        f"{middle:.2f} in the median and {worst:.1f} at worst."
    )
    return found
