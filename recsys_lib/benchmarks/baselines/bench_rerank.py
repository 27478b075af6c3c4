"""Pointwise reranking over shared prefixes against plain forward passes and against llama.cpp."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from recsys_lib.benchmarks.baselines.rows import Row, row
from recsys_lib.core.errors import InputError
from recsys_lib.data import datasets
from recsys_lib.hardware import machine, timing
from recsys_lib.llm import language_model, perplexity, rerank
from recsys_lib.llm.packed_attention import Group
from recsys_lib.llm.prompts import Prompts
from recsys_lib.llm.weights import linears

USERS, CANDIDATES, HISTORY = 1, 20, 15
PADDED = "transformers, padded"
# llama.cpp with the same float32 weights, and with the model's own packed ones.
LLAMA = {"llama.cpp, float32": "float32", "llama.cpp, int4": "int4"}


def rerank_rows(model: str = "smollm2") -> list[Row]:
    """Yes/no scores of 20 candidates for some users, with the same weights and threads, interleaved.

    One baseline reads one whole prompt per candidate, those of a user as one padded batch, through
    transformers' ``forward`` with its default attention. The other is llama.cpp, where its Python package is
    installed, over prefixes that are shared as ours are. Quality is the largest difference of a score.
    A second size is one user's prompt, read from its beginning. The limit is two operations per weight and
    token that has to be read, at the measured peak of float32. Core seconds, of one call each, leave out what
    other processes took.
    """
    language = language_model.load(model, device="cpu")
    prompts, lists = Prompts(language, max_history=HISTORY), sample_lists()
    padded, llamas = PaddedForward(model, prompts), llama_cpp(model)
    models = {"ours": language, **llamas}
    methods = {name: rerank.YesNo(Prompts(m, max_history=HISTORY), len(lists)) for name, m in models.items()}
    for method in methods.values():
        rerank.rerank(method, lists)  # the instruction, which all users share, is read once
    found, usage = rerank.rerank(methods["ours"], lists)
    work: dict[str, Callable[[], Sequence[np.ndarray]]] = {PADDED: lambda: padded.score(lists)}
    work |= {name: partial(scores, method, lists) for name, method in methods.items()}
    checked = {name: against(found, score) for name, score in work.items() if name != "ours"}
    timed = timing.compare(work, min_samples=3, min_seconds=0.5, warmup=0)
    weights = sum(layer.in_features * layer.out_features for layer in linears(language.model).values())
    peak = machine.matmul_peak("float32", seconds=0.3).throughput
    limit = 2 * weights * usage.read_tokens / peak
    size = f"{len(lists)} lists of {CANDIDATES}, {usage.read_tokens / len(lists):.0f} tokens"
    alone = f"read alone {usage.prompt_tokens / len(lists):.0f} tokens"
    rows = []
    for name, (difference, core_s) in checked.items():
        seconds = f"core seconds {sum(usage.cpu_seconds):.2f} and {core_s:.2f}"
        quality = f"largest difference of a score {difference:.0e}; {alone}; {seconds}"
        rows.append(row("rerank", size, name, timed, limit, quality))
    return rows + prompt_rows(prompts, llamas, 2 * weights / peak, lists)


def scores(method: rerank.Reranker, lists: rerank.Lists) -> list[np.ndarray]:
    """Scores ``[candidates]`` of every list."""
    return rerank.rerank(method, lists)[0]


def against(found: Sequence[np.ndarray], score: Callable[[], Sequence[np.ndarray]]) -> tuple[float, float]:
    """Largest difference of a score to those in ``found``, and core seconds."""
    started = time.process_time()
    theirs = score()
    core_s = time.process_time() - started
    return max(float(np.abs(a - b).max()) for a, b in zip(found, theirs, strict=True)), core_s


def prompt_rows(
    prompts: Prompts,
    llamas: dict[str, language_model.LanguageModel],
    least_s: float,
    lists: rerank.Lists,
) -> list[Row]:
    """One prompt of one user's history, read by ours and by llama.cpp, at ``least_s`` seconds a token."""
    if not llamas:
        return []
    ids = prompts.instruction("choose") + prompts.history("choose", lists.histories[0])
    ids += prompts.question("choose", [prompts.item(t) for t in lists.candidates[0]])
    models = {"ours": prompts.model, **llamas}
    work = {name: partial(m.extend, [Group(None, [ids])]) for name, m in models.items()}
    timed = timing.compare(work, min_samples=5, min_seconds=0.5)
    speed = {name: f"{len(ids) / timed[name].p50:.0f} tokens/s" for name in work}
    return [
        row("read prompt", f"{len(ids)} tokens", name, timed, least_s * len(ids),
            f"{speed['ours']}, {name} {speed[name]}")
        for name in llamas
    ]  # fmt: skip


def sample_lists(seed: int = 0) -> rerank.Lists:
    """Histories and candidates drawn from the titles of MovieLens-100K."""
    titles = datasets.load("ml-100k").item_texts(("title", "year"))
    rng = np.random.default_rng(seed)
    drawn = [rng.choice(len(titles), HISTORY + CANDIDATES, replace=False) for _ in range(USERS)]
    texts = [[titles[i] for i in items] for items in drawn]
    return rerank.Lists([t[:HISTORY] for t in texts], [t[HISTORY:] for t in texts])


class PaddedForward:
    """Yes/no scores by transformers alone: every prompt whole, a user's candidates padded to the longest."""

    def __init__(self, model: str, prompts: Prompts):
        self.prompts, self.model = prompts, perplexity.language_model(model)[0]

    def score(self, lists: rerank.Lists) -> list[np.ndarray]:
        """Scores ``[candidates]`` of every list."""
        import torch

        p, found = self.prompts, []
        yes, no = p.answers("pointwise")
        for history, candidates in zip(lists.histories, lists.candidates, strict=True):
            before = p.instruction("pointwise") + p.history("pointwise", history)
            whole = [before + p.question("pointwise", [p.item(t)]) for t in candidates]
            longest = max(map(len, whole))
            # Padding on the right: causal attention never looks there.
            ids = torch.tensor([w + [0] * (longest - len(w)) for w in whole])
            mask = torch.tensor([[1] * len(w) + [0] * (longest - len(w)) for w in whole])
            with torch.inference_mode():
                logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
            last = logits[torch.arange(len(whole)), torch.tensor([len(w) - 1 for w in whole])]
            found.append((last[:, yes] - last[:, no]).numpy())
        return found


def llama_cpp(model: str) -> dict[str, language_model.LanguageModel]:
    """The model on llama.cpp, by name of the baseline; none, and one line, without it."""
    try:
        return {name: language_model.load(model, p, "cpu", "llama.cpp") for name, p in LLAMA.items()}
    except InputError as error:
        print(f"bench rerank: {error}", file=sys.stderr)
        return {}
