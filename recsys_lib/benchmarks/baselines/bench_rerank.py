"""Pointwise reranking over shared prefixes against plain forward passes and against llama.cpp."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from recsys_lib.benchmarks.baselines.rows import Row, row
from recsys_lib.data import assets, datasets
from recsys_lib.hardware import machine, timing
from recsys_lib.llm import language_model, perplexity, rerank
from recsys_lib.llm.packed_attention import Group, extend
from recsys_lib.llm.prompts import Prompts
from recsys_lib.llm.weights import linears

USERS, CANDIDATES, HISTORY = 1, 20, 15
PADDED, LLAMA = "transformers, padded", "llama.cpp"


def rerank_rows(model: str = "smollm2") -> list[Row]:
    """Yes/no scores of 20 candidates for some users, with the same weights and threads, interleaved.

    The baseline reads one whole prompt per candidate, those of a user as one padded batch, through
    transformers' ``forward`` with its default attention. Quality is the largest difference of a score.
    llama.cpp, where its Python package is installed, reads one user's prompt from the file of packed weights;
    ours reads the same tokens in float32. The limit is two operations per weight and token that has to be
    read, at the measured peak of float32. Core seconds, of one
    call each, leave out what other processes took.
    """
    language = language_model.load(model, device="cpu")
    prompts = Prompts(language, max_history=HISTORY)
    lists = sample_lists()
    method = rerank.YesNo(prompts, users_at_once=len(lists))
    found, usage = rerank.rerank(method, lists)
    padded = PaddedForward(model, prompts)
    started = time.process_time()
    theirs = padded.score(lists)
    core_s = {"ours": sum(usage.cpu_seconds), PADDED: time.process_time() - started}
    difference = max(float(np.abs(a - b).max()) for a, b in zip(found, theirs, strict=True))
    work: dict[str, Callable[[], object]] = {
        "ours": lambda: rerank.rerank(method, lists),
        PADDED: lambda: padded.score(lists),
    }
    timed = timing.compare(work, min_samples=3, min_seconds=0.5, warmup=0)
    weights = sum(layer.in_features * layer.out_features for layer in linears(language.model).values())
    peak = machine.matmul_peak("float32", seconds=0.3).throughput
    limit = 2 * weights * usage.read_tokens / peak
    size = f"{len(lists)} lists of {CANDIDATES}, {usage.read_tokens / len(lists):.0f} tokens"
    alone = usage.prompt_tokens / len(lists)
    quality = f"largest difference of a score {difference:.0e}; read alone {alone:.0f} tokens; "
    quality += f"core seconds {core_s['ours']:.2f} and {core_s[PADDED]:.2f}"
    first = row("rerank", size, PADDED, timed, limit, quality)
    return [first, *prompt_rows(language, prompts, weights, peak, lists)]


def prompt_rows(language: Any, prompts: Prompts, weights: int, peak: float, lists: rerank.Lists) -> list[Row]:
    """One prompt of one user's history, read by ours and by llama.cpp; nothing without llama.cpp."""
    ids = prompts.instruction("choose") + prompts.history("choose", lists.histories[0])
    ids += prompts.question("choose", [prompts.item(t) for t in lists.candidates[0]])
    llama = llama_cpp(language.name, len(ids))
    if llama is None:
        return []
    work: dict[str, Callable[[], object]] = {
        "ours": lambda: extend(language, [Group(None, [ids])]),
        LLAMA: lambda: read(llama, ids),
    }
    timed = timing.compare(work, min_samples=5, min_seconds=0.5)
    ours, theirs = (len(ids) / timed[name].p50 for name in ("ours", LLAMA))
    quality = f"{ours:.0f} tokens/s, {LLAMA} {theirs:.0f}"
    limit = 2 * weights * len(ids) / peak
    return [row("read prompt", f"{len(ids)} tokens, float32", LLAMA, timed, limit, quality)]


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


def llama_cpp(model: str, tokens: int) -> Any:
    """llama.cpp with the model's packed weights and torch's threads; None, and one line, without it."""
    import torch

    try:
        from llama_cpp import Llama
    except ModuleNotFoundError:
        how = "pip install --no-deps llama-cpp-python diskcache"
        print(f"bench rerank: without llama.cpp: {how}", file=sys.stderr)
        return None
    file = next(assets.locate(model).glob("*.gguf"))
    threads = torch.get_num_threads()
    options = {"n_ctx": 2 * tokens, "n_batch": 512, "n_threads": threads, "n_threads_batch": threads}
    return Llama(str(file), verbose=False, **options)


def read(llama: Any, ids: list[int]) -> None:
    """Read a prompt from the beginning."""
    llama.reset()
    llama.eval(ids)
