"""The explorer in a notebook: sliders over a scenario, and the answer and the table that follow them.

Where no kernel listens (GitHub, a static page) the last answer is shown as it was, without sliders: ``bundle`` holds both forms.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets as widgets

from recsys_lib.cost import decision
from recsys_lib.cost.decision import Choice, Scenario
from recsys_lib.cost.deployments import TEXT_LENGTHS, Assumptions

# Fields of a scenario with a logarithmic slider: label, and the powers of ten from which to which.
SLIDERS = {
    "requests_per_s": ("requests/s at the peak", -1, 5),
    "items": ("items", 3, 7),
    "new_items_per_day": ("new items a day", 0, 7),
    "latency_limit_s": ("latency allowed, s", -2.5, 1),
}
TARGETS = {"seen": "NDCG, known items", "new": "NDCG, new items"}


def answer(choices: Sequence[Choice], case: Scenario) -> str:
    """The verdict in one sentence of HTML and every way in a table, the cheapest first."""
    best = decision.cheapest_reaching(choices, case.seen, case.new)
    asked = f"NDCG@10 {case.seen:.2f} on known and {case.new:.2f} among new items"
    verdict = (
        f"<b>{html.escape(best.name)}</b> at <b>{best.usd_per_month.value:,.2f} USD</b> a month is the cheapest to reach {asked}."
        if best
        else f"No way that was measured reaches {asked} with this traffic."
    )
    rows = "".join(_row(c, c is best) for c in sorted(choices, key=lambda c: (bool(c.problem), c.usd_per_month.value)))
    heads = ("way", "known", "new", "USD/month", "USD/million", "latency, ms", "machines", "")
    head = "".join(f"<th style='text-align:left'>{h}</th>" for h in heads)
    return f"<p>{verdict}</p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _row(choice: Choice, best: bool) -> str:
    held = " + ".join(s.machine.name for s in choice.stacks)
    cells = [
        choice.name, str(choice.seen), str(choice.new), f"{choice.usd_per_month.value:,.2f}", f"{choice.usd_per_million.value:,.3f}",
        f"{choice.request_s * 1e3:,.1f}", held, choice.problem,
    ]  # fmt: skip
    style = "font-weight:bold" if best else "opacity:.55" if choice.problem else ""
    return (
        f"<tr style='{style}'>" + "".join(f"<td style='text-align:left'>{html.escape(c)}</td>" for c in cells) + "</tr>"
    )


def explorer(case: Scenario, assumed: Assumptions | None = None, protocol: str = decision.PROTOCOL) -> widgets.VBox:
    """Sliders that start at ``case``; the last child is the answer, computed anew at every move."""
    assumed = assumed or Assumptions()
    values = {**vars(case.traffic), "text_tokens": case.text_tokens, "seen": case.seen, "new": case.new}
    wide = {"style": {"description_width": "11rem"}, "layout": {"width": "30rem"}, "continuous_update": False}
    knobs: dict[str, Any] = {}
    for name, (label, low, high) in SLIDERS.items():
        knobs[name] = widgets.FloatLogSlider(
            value=values[name], min=low, max=high, step=0.05, description=label, readout_format=".3g", **wide
        )
    for name, label in TARGETS.items():
        knobs[name] = widgets.FloatSlider(value=values[name], min=0, max=0.6, step=0.01, description=label, **wide)
    lengths = sorted({*TEXT_LENGTHS, case.text_tokens})
    knobs["text_tokens"] = widgets.SelectionSlider(
        options=lengths, value=case.text_tokens, description="tokens of a text", **wide
    )
    shown = widgets.HTML()

    def compute(_: Mapping[str, Any] | None = None) -> None:
        moved = {name: knob.value for name, knob in knobs.items()}
        moved["items"] = round(moved["items"])
        asked = case.change(**moved)
        shown.value = answer(decision.decide(asked, assumed, protocol), asked)

    for knob in knobs.values():
        knob.observe(compute, "value")
    compute()
    return widgets.VBox([*knobs.values(), shown])


def bundle(box: widgets.VBox) -> dict[str, Any]:
    """For ``display(bundle(box), raw=True)``: the widgets for a kernel, their present answer for everybody else."""
    return {
        **box._repr_mimebundle_(),
        "text/html": box.children[-1].value,
        "text/plain": "The explorer needs a kernel.",
    }
