"""The table of ``bench rerank`` with a tiny model: same scores as plain forward passes."""

import sys

import pytest
from tiny_models import tiny_folder

from recsys_lib.benchmarks.baselines import bench_rerank
from recsys_lib.llm import rerank


@pytest.fixture
def once(one_sample, monkeypatch):
    titles = [f"Film {i}" for i in range(6)]
    lists = rerank.Lists([titles[:2], []], [titles[2:], titles[3:]])
    monkeypatch.setattr(bench_rerank, "sample_lists", lambda: lists)


def test_scores_are_those_of_padded_forward_passes(once, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    (found,) = bench_rerank.rerank_rows(str(tiny_folder(tmp_path)))
    difference = float(found.quality.split("score ")[1].split(";")[0])
    assert difference < 1e-3
    assert found.ratio == pytest.approx(found.baseline_s / found.ours_s) and found.limit_s > 0
    assert capsys.readouterr().err.splitlines() == [
        "bench rerank: backend='llama.cpp' needs llama-cpp-python: run pip install --no-deps "
        "llama-cpp-python diskcache"
    ]
