"""The figures of notebook 02: a word through the layers, cosines of random pairs, and films in a plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from recsys_lib.reporting import plots
from recsys_lib.vectors import geometry

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def layers(axes: Sequence[Axes], depths: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """One panel a model: the mean cosine of one word's vectors after each layer, in the same sense and in
    another.

    depths: model to {"same sense", "other sense"} to ``[layers + 1]``. The first series is the control.
    """
    for ax, (name, pairs) in zip(axes, depths.items(), strict=True):
        for i, (sense, path) in enumerate(pairs.items()):
            ax.plot(
                range(len(path)),
                path,
                color=plots.PALETTE[i],
                marker=plots.MARKERS[i],
                markersize=4,
                label=sense,
            )
        control, other = pairs.values()
        title = f"{name}: the senses end {float(control[-1] - other[-1]):.2f} apart"
        plots.finish(ax, title, "layer", "mean cosine of 'bank'" if ax is axes[0] else "")
    axes[0].legend(loc="lower left")


def cones(axes: Sequence[Axes], cosines: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """One panel a geometry, a curve a model: the fraction of random pairs at or below a cosine, on common
    axes."""
    said = {
        "raw": "Raw: each model around its own offset",
        "centred": "Centred: around zero, unevenly wide",
        "whitened": "Whitened: around zero, as narrow as by chance",
    }
    for ax, (name, samples) in zip(axes, cosines.items(), strict=True):
        plots.ecdfs(ax, dict(samples))
        ax.set_xlim(-0.6, 1.02)
        ax.set_xticks([-0.5, 0, 0.5, 1])
        plots.finish(
            ax,
            said.get(name, name),
            "cosine of random film pairs",
            "fraction of pairs" if ax is axes[0] else "",
        )
        if ax is not axes[0]:
            ax.get_legend().remove()  # type: ignore[union-attr]
    axes[0].legend(loc="upper left")


def space(
    axes: Sequence[Axes],
    vectors: Mapping[str, np.ndarray],
    genres: pd.Series,
    shown: Sequence[str] = ("Children's", "Horror", "Documentary"),
) -> None:
    """One panel a model: items in the two directions of largest variance, those of three genres coloured.

    The title gives the share of variance between the three genres' means (η², correlation ratio) in that
    plane.
    """
    for ax, (name, v) in zip(axes, vectors.items(), strict=True):
        plane = geometry.whiten(v, kind="pca", dimensions=2).apply(v)
        members = [genres.str.contains(genre, regex=False).to_numpy() for genre in shown]
        ax.scatter(plane[:, 0], plane[:, 1], s=4, color="#D0D0D0", linewidths=0)
        for i, (genre, mine) in enumerate(zip(shown, members, strict=True)):
            marker = plots.MARKERS[i]
            x, y = plane[mine, 0], plane[mine, 1]
            ax.scatter(x, y, s=11, color=plots.PALETTE[i], marker=marker, linewidths=0, label=genre)
        share = between(plane, members)
        title = f"{name}: {share:.0%} of the plane's variance lies between the genres"
        plots.finish(ax, title, "first direction", "second direction" if ax is axes[0] else "")
    axes[0].legend(markerscale=2)


def between(plane: np.ndarray, members: Sequence[np.ndarray]) -> float:
    """Variance between the groups' means over all variance of their points.

    An item of two groups counts in both.

    >>> left, right = np.array([True, True, False, False]), np.array([False, False, True, True])
    >>> between(np.array([[0.0], [0.0], [1.0], [1.0]]), [left, right])
    1.0
    """
    points = np.concatenate([plane[mine] for mine in members])
    middle = points.mean(axis=0)
    apart = sum(
        mine.sum() * ((plane[mine].mean(axis=0) - middle) ** 2).sum() for mine in members if mine.any()
    )
    return float(apart / ((points - middle) ** 2).sum())
