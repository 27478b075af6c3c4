"""Workers of ``torch.distributed`` as processes of this machine, without a cluster: for measuring what they
send each other, and for checking that several workers compute what one does.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from recsys_lib.core.errors import InputError

Samples = list[tuple[int, float, float]]


def run(function: Callable[..., Any], workers: int, *arguments: Any) -> list[Any]:
    """What ``function(*arguments)`` returns in each of ``workers`` processes, which form the default group
    over gloo, with one thread each; in the order of their ranks.

    The function must be found by its name in a module, as its processes import it anew.
    """
    if workers < 1:
        raise InputError(f"workers={workers!r}: expected at least 1")
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        # Each waits for all others to join, so none takes a second place.
        meeting = str(Path(folder) / "meeting")
        ranks = [pool.submit(_joined, rank, workers, meeting, function, arguments) for rank in range(workers)]
        return [rank.result() for rank in ranks]


def _joined(rank: int, workers: int, meeting: str, function: Callable[..., Any], arguments: tuple) -> Any:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if Path("/sys/class/net/lo").exists() else "lo0")
    import torch
    from torch import distributed

    torch.set_num_threads(1)
    store = distributed.FileStore(meeting, workers)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=workers)
    try:
        return function(*arguments)
    finally:
        distributed.destroy_process_group()


def all_reduce_times(workers: int, sizes: Sequence[int], repetitions: int = 25) -> Samples:
    """Times of an all-reduce over gloo and this machine's loopback: ``(workers, bytes, seconds)`` for each of
    ``sizes`` bytes. A repetition takes as long as its slowest worker; the fastest of all counts, since other
    programs of the machine can only add to it.
    """
    times = run(_time_all_reduce, workers, tuple(sizes), repetitions)
    fastest = np.max(np.array(times), axis=0).min(axis=1)
    return [(workers, float(n), float(s)) for n, s in zip(sizes, fastest, strict=True)]


def _time_all_reduce(sizes: tuple[int, ...], repetitions: int) -> list[list[float]]:
    import torch
    from torch import distributed

    found = []
    for size in sizes:
        data = torch.ones(max(1, size // 4))
        seconds = []
        for _ in range(repetitions + 2):  # the first two warm up
            distributed.barrier()
            start = time.perf_counter()
            distributed.all_reduce(data)
            seconds.append(time.perf_counter() - start)
        found.append(seconds[2:])
    return found
