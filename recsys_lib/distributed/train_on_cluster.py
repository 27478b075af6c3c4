"""Fine-tuning by several workers of a Ray cluster, with Ray Train: each encodes a part of every step's texts,
all see all vectors, so that the loss is that of one worker with the same batch.

Between workers go the step's vectors and the sum of the gradients, over gloo on processors and nccl on GPUs.
A worker that dies is replaced: all go on from the last state on disk, and since a step is a function of its
number alone, the losses are those of a run in which nobody died.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.core.files import check_writable
from recsys_lib.distributed.cluster import cluster, errors_in_one_line, ray_module
from recsys_lib.llm.finetune.trainer import Trainer
from recsys_lib.llm.finetune.workers import Alone, Workers

# How often a worker may die before the run is given up.
MAX_FAILURES = 5
Make = Callable[[Workers], Trainer]


class Group:
    """The workers of ``torch.distributed``'s default group, as the trainer asks for them.

    ``sent_bytes`` counts what this worker puts on the network: for all-gather its part to each other worker,
    for a ring all-reduce of ``n`` bytes ``2 (p - 1) / p · n`` (``cost.scaling``).
    """

    def __init__(self) -> None:
        from torch import distributed

        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()
        self.sent_bytes, self.gathered, self.added = 0.0, 0, 0

    def gather(self, part: np.ndarray) -> list[np.ndarray]:
        """The arrays ``[n_i, d]`` of all workers, in the order of their ranks."""
        import torch
        from torch import distributed

        device = _device()
        counts = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(self.size)]
        distributed.all_gather(counts, torch.tensor([len(part)], device=device))
        longest = max(int(n) for n in counts)
        mine = torch.zeros((longest, part.shape[1]), device=device)
        mine[: len(part)] = torch.from_numpy(part)
        found = [torch.empty_like(mine) for _ in range(self.size)]
        distributed.all_gather(found, mine)
        self.gathered += mine.nbytes
        self.sent_bytes += (self.size - 1) * mine.nbytes
        return [v[: int(n)].cpu().numpy() for v, n in zip(found, counts, strict=True)]

    def add(self, gradients: Sequence[Any]) -> None:
        """Replace each tensor by its sum over the workers; all are sent as one."""
        import torch
        from torch import distributed

        flat = torch.cat([g.reshape(-1) for g in gradients])
        distributed.all_reduce(flat)
        self.added += flat.nbytes
        self.sent_bytes += 2 * (self.size - 1) / self.size * flat.nbytes
        place = 0
        for gradient in gradients:
            gradient.copy_(flat[place : place + gradient.numel()].view_as(gradient))
            place += gradient.numel()


def fit(
    make: Make,
    folder: Path,
    workers: int = 2,
    *,
    every: int = 10,
    address: str | None = None,
    gpu: bool = False,
    report: Callable[[Trainer], None] | None = None,
) -> Trainer:
    """Train what ``make`` makes by ``workers`` workers; returns it, trained, in this process.

    ``make(workers)`` is called once by each worker and must give the same trainer to each, apart from its
    ``workers``; its batch is the global one. The state is written to ``folder``, which all machines see,
    after every ``every`` steps and at the end, and a run that finds one there goes on from it. ``report`` is
    called in each worker before every step.

    Raises:
        InputError: as ``cluster``, a folder that cannot be written, or workers that die again and again.
    """
    if workers < 1 or every < 1:
        raise InputError(f"workers={workers!r}, every={every!r}: expected at least 1 of each")
    folder = folder.resolve()
    check_writable(folder / "meta.json")
    trainer = make(Alone())  # what it refuses is refused here, once
    trainer.resume(folder)
    if trainer.step_number < trainer.settings.steps:
        with cluster(address, 0 if address else workers), errors_in_one_line("training"):
            _run(make, folder, workers, every, gpu, report)
        trainer.resume(folder)
    return trainer


def _run(
    make: Make,
    folder: Path,
    workers: int,
    every: int,
    gpu: bool,
    report: Callable[[Trainer], None] | None,
) -> None:
    ray_module()
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    def loop() -> None:
        trainer = make(Group())

        def before_step(it: Trainer) -> None:
            if it.workers.rank == 0 and it.step_number and it.step_number % every == 0:
                it.save(folder)
            if report is not None:
                report(it)

        trainer.fit(folder=folder, report=before_step)

    storage = folder.with_name(f".{folder.name}.{os.getpid()}.ray")
    try:
        TorchTrainer(
            loop,
            torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpu),
            run_config=RunConfig(
                name="run", storage_path=str(storage), failure_config=FailureConfig(MAX_FAILURES)
            ),
        ).fit()
    finally:
        shutil.rmtree(storage, ignore_errors=True)


def _device() -> str:
    from torch import distributed

    return "cuda" if distributed.get_backend() == "nccl" else "cpu"
