"""Memory that a thread keeps from search to search: lists are the same in threads, children and any order."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from recsys_lib.vectors import quantization, search, similarity
from recsys_lib.vectors.search import kernel

RNG = np.random.default_rng(0)
ITEMS = RNG.normal(size=(6000, 64)).astype(np.float32)
QUERIES = RNG.normal(size=(24, 64)).astype(np.float32)


@pytest.fixture
def index(monkeypatch):
    monkeypatch.setattr(kernel, "HUGE", 1024)  # so that small lists are kept too
    monkeypatch.setattr(kernel, "CACHED", 0)
    return built()


def built():
    few = quantization.quantize(ITEMS, "int4")
    return search.Index.build(quantization.quantize(ITEMS, "int8"), ITEMS, few=few)


def asked(index, n, k=10):
    """Ids and scores, ``n`` queries at a time."""
    found = [index.exact_top_k(QUERIES[i : i + n], k) for i in range(0, len(QUERIES), n)]
    return np.concatenate([f.ids for f in found]), np.concatenate([f.scores for f in found])


def right(found, k=10):
    ids, scores = similarity.top_k(QUERIES, ITEMS, k)
    return np.array_equal(found[0], ids) and np.array_equal(found[1], scores)


def test_rooms_of_other_sizes_follow_each_other(index):
    for n, k in ((1, 10), (4, 10), (1, 40), (2, 3), (24, 10), (1, 10)):
        assert right(asked(index, n, k), k)
    if kernel.load():
        assert set(kernel._kept_room.maps) == {"reach", "id"}


def test_threads_keep_rooms_of_their_own(index):
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda i: right(asked(index, 1 + i % 2)), range(12)))


def child_of_a_fork_and_parent_agree(index):
    before = asked(index, 1)
    child = os.fork()
    if not child:
        status = 1
        try:
            again = asked(index, 1)
            status = int(not all(map(np.array_equal, again, before)))
        finally:
            os._exit(status)
    mine = [asked(index, 1) for _ in range(3)]
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert all(np.array_equal(a, b) for found in mine for a, b in zip(found, before, strict=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_of_a_fork_does_not_write_to_its_parents_room():
    # Not in this process: threads of other tests may hold locks that a child would wait for.
    code = (
        "import test_kept_room as t; t.kernel.HUGE, t.kernel.CACHED = 1024, 0; "
        "t.child_of_a_fork_and_parent_agree(t.built())"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    run = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
