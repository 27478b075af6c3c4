"""Several notebooks at once, each in its own process; those that measure time run alone, after the others."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

from recsys_lib.core import memory
from recsys_lib.experiments.runs import Run
from recsys_lib.experiments.sweeps import LocalPool, execute_apart

# Notebooks whose findings are times of this machine: another one beside them would be measured, too.
MEASURE_TIME = ("01_cosine_similarity", "09_model_quantization", "15_hardware_timing")
# Bytes that a notebook at its default parameters takes at most, kernel included; measured, rounded up.
NOTEBOOK_BYTES = 4 * 2**30


def runs_at_once(asked: int = 0) -> int:
    """How many notebooks to run at once: ``asked``, or (0) one per core as far as memory goes.

    >>> runs_at_once(3)
    3
    """
    return asked or max(1, min(os.cpu_count() or 1, memory.available_bytes() // NOTEBOOK_BYTES))


def execute_several(jobs: Sequence[tuple[Path, dict[str, Any]]], folder: Path, at_once: int) -> Iterator[Run]:
    """Run each notebook of ``jobs`` with its parameters into ``folder``, ``at_once`` at a time; yields the
    runs as they finish.

    Those at a time share the cores' threads. Notebooks of ``MEASURE_TIME`` come last, one by one, with all.
    """
    timed = [job for job in jobs if job[0].stem in MEASURE_TIME]
    others = [job for job in jobs if job not in timed]
    yield from _in_pool(others, folder, max(1, min(at_once, len(others))))
    yield from _in_pool(timed, folder, 1)


def _in_pool(jobs: Sequence[tuple[Path, dict[str, Any]]], folder: Path, at_once: int) -> Iterator[Run]:
    threads = max(1, (os.cpu_count() or 1) // at_once) if at_once > 1 else 0
    pool = LocalPool(at_once)
    with tempfile.TemporaryDirectory(prefix="recsys-runs-") as outcomes:
        pending = [
            pool.submit(
                execute_apart,
                {
                    "path": str(path),
                    "parameters": parameters,
                    "output": str(folder / path.name),
                    "run_id": path.stem,
                    "threads": threads,
                },
                Path(outcomes) / f"{number}.json",
            )
            for number, (path, parameters) in enumerate(jobs)
        ]
        try:
            for future in as_completed(pending):
                yield future.result()
        except BaseException:
            pool.stop()
            raise
        finally:
            pool.shutdown()
