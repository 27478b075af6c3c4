"""A sweep whose runs are executed by the workers of a Ray cluster: the same files as on one machine, in a
folder that every machine sees.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from recsys_lib.distributed.cluster import cluster, errors_in_one_line, ray_module
from recsys_lib.experiments import sweeps
from recsys_lib.experiments.runs import Run


class RayPool:
    """Runs as tasks of the cluster to which this process is connected, one core each; a run whose worker died
    starts again on another.
    """

    def __init__(self) -> None:
        self.tasks: list[Any] = []

    def submit(self, function: Callable[..., Run], /, *arguments: Any) -> Future[Run]:
        """Start ``function(*arguments)`` on a worker."""
        task = ray_module().remote(num_cpus=1, max_retries=3)(function).remote(*arguments)
        self.tasks.append(task)
        return task.future()

    def stop(self) -> None:
        """Begin no further run, and kill what is running."""
        for task in self.tasks:
            with contextlib.suppress(Exception):
                ray_module().cancel(task, force=True)

    def shutdown(self) -> None:
        """Forget the runs; their results are in files."""
        self.tasks.clear()


@contextlib.contextmanager
def ray_pool(workers: int = 0, address: str | None = None) -> Iterator[tuple[RayPool, int]]:
    """A pool on a cluster (as ``cluster.cluster``), and how many runs it can execute at once."""
    with cluster(address, workers) as cores, errors_in_one_line("the sweep"):
        yield RayPool(), workers or cores


def sweep(
    path: Path,
    points: Sequence[dict[str, Any]],
    folder: Path | None = None,
    *,
    workers: int = 0,
    address: str | None = None,
    progress: bool = True,
) -> list[Run]:
    """``experiments.sweeps.sweep`` by the workers of a Ray cluster; finished runs are skipped all the same.

    Raises:
        InputError: as there and as ``cluster``.
    """
    with ray_pool(workers, address) as (pool, jobs):
        return sweeps.sweep(path, points, folder, jobs, progress, pool)
