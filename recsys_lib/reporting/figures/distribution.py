"""Figures, tables and findings of distribution: what all-reduces take, and what is left of each worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from recsys_lib.cost import scaling
from recsys_lib.cost.scaling import Job, Network
from recsys_lib.cost.units import two_digits
from recsys_lib.reporting import plots
from recsys_lib.reporting.takeaways_00_to_03 import bullets

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WORKERS = [2**i for i in range(11)]
# All books of Book-Crossing, about.
TITLES = 270_000


def record(parts: Sequence[Mapping[str, Any]], part: str) -> dict[str, Any]:
    """The metrics of one part of the recorded study."""
    return next(dict(run["metrics"]) for run in parts if run["parameters"]["part"] == part)


def samples(network: Mapping[str, Any]) -> list[tuple[int, float, float]]:
    """The recorded all-reduces as ``cost.scaling.fitted`` takes them."""
    return [(row["workers"], row["bytes"], row["seconds"]) for row in network["samples"]]


def training_table(training: Mapping[str, Any]) -> pd.DataFrame:
    """Recorded steps: texts, seconds and processor seconds of a step, and both a text relative to one
    worker.
    """
    texts = {"one": training["batch"], "strong": training["batch"], "weak": 2 * training["batch"]}
    names = {"one": "1 worker", "strong": "2 workers, the same batch", "weak": "2 workers, twice the batch"}
    rows = []
    for kind, name in names.items():
        one, found = training["one"], training[kind]
        per_text = found["processor_s"] / texts[kind] * texts["one"] / one["processor_s"]
        rows.append(
            {
                "": name,
                "texts": texts[kind],
                "s a step": found["step_s"],
                "processor s a step": found["processor_s"],
                "processor s a text, relative": per_text,
                "MB sent by each": found["sent_bytes"] / 1e6,
            }
        )
    return pd.DataFrame(rows).set_index("")


def encoding_table(small: Mapping[str, Any], large: Mapping[str, Any], titles: int = TITLES) -> pd.DataFrame:
    """Recorded encoding of two numbers of titles: processor seconds, also relative to the plain path, and
    what a line through both says of ``titles``.
    """
    rows = []
    for kind, name in (("plain", "plain"), ("ray 1", "Ray, 1 worker"), ("ray 2", "Ray, 2 workers")):
        used = [part[kind]["processor_s"] for part in (small, large)]
        plain = [part["plain"]["processor_s"] for part in (small, large)]
        row: dict[str, Any] = {"": name}
        for part, own, other in zip((small, large), used, plain, strict=True):
            row[f"processor s, {part['titles']:,}"] = own
            row[f"relative, {part['titles']:,}"] = own / other
        row["paid once, s"] = _line(small["titles"], large["titles"], used, 0)
        row[f"relative, {titles:,} (computed)"] = _line(
            small["titles"], large["titles"], used, titles
        ) / _line(small["titles"], large["titles"], plain, titles)
        rows.append(row)
    return pd.DataFrame(rows).set_index("")


def _line(small: float, large: float, values: Sequence[float], at: float) -> float:
    """The line through two points, at a third."""
    slope = (values[1] - values[0]) / (large - small)
    return values[0] + slope * (at - small)


def efficiencies(jobs: Mapping[str, Job], networks: Sequence[Network], workers: int) -> pd.DataFrame:
    """Weak efficiency of every job at so many workers: gradients sent after the backward pass, and during
    it.
    """
    rows = {}
    for name, job in jobs.items():
        rows[name] = {
            f"{network.name}{', overlapped' if overlap else ''}": job.weak_efficiency(
                workers, network, overlap
            )
            for network in networks
            for overlap in (0.0, 1.0)
        }
    return pd.DataFrame(rows).T


def all_reduces(ax: Axes, found: Sequence[tuple[int, float, float]], network: Network) -> None:
    """Measured times against bytes, and the fitted line."""
    n_bytes, seconds = np.array([n for _, n, _ in found]), np.array([s for _, _, s in found])
    line = np.geomspace(n_bytes.min(), n_bytes.max(), 50)
    ax.plot(line, [network.all_reduce_s(n, found[0][0]) for n in line], color=plots.GREY, label="α-β model")
    ax.scatter(n_bytes, seconds, color=plots.PALETTE[0], zorder=3, label="measured")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.legend()
    plots.finish(ax, "Two constants explain what two workers' sums take", "bytes", "seconds of an all-reduce")


def machine_time_title(jobs: Mapping[str, Job], network: Network, workers: int) -> str:
    """The finding of ``machine_time`` for one network, from its numbers."""
    times = [1 / job.weak_efficiency(workers, network) for job in jobs.values()]
    return f"{network.name}: {two_digits(min(times))} to {two_digits(max(times))} times as much"


def machine_time(ax: Axes, jobs: Mapping[str, Job], network: Network, title: str) -> None:
    """Machine time of the same work relative to one worker, where workers share one step (dashed) and where
    each keeps its own part (solid).
    """
    for (name, job), colour in zip(jobs.items(), plots.PALETTE, strict=False):
        weak = [1 / job.weak_efficiency(p, network) for p in WORKERS]
        strong = [1 / job.strong_efficiency(p, network) for p in WORKERS]
        ax.plot(WORKERS, weak, color=colour, label=name)
        ax.plot(WORKERS, strong, color=colour, linestyle="--", linewidth=1)
    ax.axhline(1, color=plots.GREY, linewidth=1)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(WORKERS[::2], [f"{p:,}" for p in WORKERS[::2]])
    plots.finish(ax, title, "workers", "machine time of the same work, 1 worker = 1")


def published_table() -> pd.DataFrame:
    """Published efficiencies beside the model's bracket."""
    rows = [
        {
            "model": row.model,
            "workers": row.workers,
            "sent after": row.without_overlap,
            "published": row.published,
            "sent during": row.with_overlap,
            "inside": row.inside,
        }
        for row in scaling.against_published()
    ]
    return pd.DataFrame(rows).set_index("model")


def takeaways(
    training: pd.DataFrame,
    encoding: pd.DataFrame,
    at_scale: pd.DataFrame,
    published: pd.DataFrame,
    load: float,
) -> str:
    """What the notebook found, in sentences made of its numbers; ``load``: processes that wanted the cores
    before the steps were measured.
    """
    strong, weak = training["processor s a text, relative"].iloc[[1, 2]]
    least, most = 1 / at_scale.max(axis=None), 1 / at_scale.min(axis=None)
    often, rarely = (encoding.filter(like="relative").iloc[2, place] for place in (0, -1))
    return bullets(
        [
            "**Distribution divides the wait, not the work.** Two workers that share a batch have the losses "
            f"of one, and take {strong:.2f} times its processor time for a text; with twice the batch "
            f"{weak:.2f} times. That is one run, while {load:.1f} other processes wanted the two cores: no "
            "interval.",
            "Encoding a catalogue needs no messages between workers, only their start: two workers of Ray "
            f"took {often:.1f} times the processor time of the plain path for the fewer titles, and a line "
            f"through both numbers of titles says {rarely:.2f} times for {TITLES:,}.",
            f"Modelled at the largest number of workers, each with a batch of its own, the same work takes "
            f"{least:.2f} to {most:,.1f} times the machine time of one worker, by model, network and whether "
            f"gradients are sent during the backward pass or after it.",
            f"The model brackets {int(published['inside'].sum())} of {len(published)} published "
            "efficiencies of 512 GPUs.",
            "What distribution does lower is the memory that each machine needs, if the state is sharded. "
            "Without sharding each worker needs all of it.",
        ]
    )
