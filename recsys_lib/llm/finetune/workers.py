"""What the trainer asks of the workers that share a step; here for one worker, `distributed` has those for
many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np


class Workers(Protocol):
    """The workers of one step, of which this is number ``rank`` of ``size``.

    ``gather(part)`` gives the float32 arrays ``[n_i, d]`` of all workers, in the order of their ranks, to
    each of them. ``add(gradients)`` replaces each tensor by its sum over the workers. A worker that goes
    through the same steps with the same batches has the same weights after each.
    """

    rank: int
    size: int

    def gather(self, part: np.ndarray) -> list[np.ndarray]: ...

    def add(self, gradients: Sequence[Any]) -> None: ...


class Alone:
    """One worker: nothing is sent."""

    rank, size = 0, 1

    def gather(self, part: np.ndarray) -> list[np.ndarray]:
        return [part]

    def add(self, gradients: Sequence[Any]) -> None:
        pass
