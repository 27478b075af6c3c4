"""A catalogue encoded by the workers of a Ray cluster, with Ray Data: each takes a shard, writes its vectors
to the shared folder, and takes the next.

Texts and vectors go through files that every machine sees (one machine's disk, or a shared one); only numbers
of shards go through Ray. A worker that dies is replaced, and its shard is encoded again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from recsys_lib.core.errors import InputError
from recsys_lib.core.files import held
from recsys_lib.distributed.cluster import cluster, errors_in_one_line, ray_module
from recsys_lib.encoders import Encoder, saved, shards
from recsys_lib.encoders.stream import BLOCK


class ShardEncoder:
    """What a worker holds: the encoder, loaded once from the folder of the job."""

    def __init__(self, job: shards.Job):
        self.job = job
        self.encoder = saved.load(Path(job.folder) / "encoder", cache=False)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            done = shards.encode_shard(self.encoder, self.job, int(row["shard"]))
        except InputError as error:
            return {"rows": 0, "error": str(error)}
        return {"rows": done.rows, "error": ""}


def encode_sharded(
    encoder: Encoder,
    source: str,
    folder: Path,
    columns: Sequence[str] = ("title",),
    *,
    form: str = "npy",
    rows: int = BLOCK,
    workers: int = 0,
    address: str | None = None,
    progress: bool = True,
) -> tuple[int, int]:
    """Encode all texts of ``source`` into shards of ``rows`` vectors below ``folder``; returns how many texts
    there are, and how many the encoder cut.

    The vectors are those of ``stream.encode_to_disk`` with blocks of ``rows``. ``workers`` (0: one per core
    of the cluster) encode at once, one thread each. A run that was stopped at any moment goes on with the
    shards that are missing.

    Raises:
        InputError: as ``shards.begin`` and ``cluster``, another run in the same folder, or workers that die
            again and again.
    """
    from tqdm import tqdm

    source = str(Path(source).resolve()) if Path(source).is_file() else source
    folder = folder.resolve()
    # Two runs would take each other's unfinished files for abandoned ones.
    taken = f"{folder}: another run is encoding into it; choose another folder"
    with held(folder / ".lock", taken):
        job = shards.begin(encoder, source, folder, columns, form, rows)
        done = job.finished()
        todo = [{"shard": s.number} for s in job.shards if s.number not in done]
        already = sum(d.rows for d in done.values())
        bar = tqdm(
            total=job.texts, initial=already, unit="text", desc=encoder.name,
            disable=None if progress else True,
        )  # fmt: skip
        with bar:
            if todo:
                with cluster(address, min(workers, len(todo))) as cores:
                    for n in _encoded(job, todo, min(workers or cores, len(todo))):
                        bar.update(n)
        return shards.finish(job)


def _encoded(job: shards.Job, todo: Sequence[dict[str, int]], workers: int) -> Iterator[int]:
    """Numbers of rows, one a shard, as the workers finish them."""
    ray_module()
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    with errors_in_one_line("encoding"):
        worker: Any = ShardEncoder
        rows = ray.data.from_items(list(todo), override_num_blocks=len(todo)).map(
            worker,
            fn_constructor_args=(job,),
            compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=2),
            num_cpus=1,
        )
        for row in rows.iter_rows():
            if row["error"]:
                raise InputError(row["error"])
            yield int(row["rows"])
