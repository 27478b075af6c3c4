"""How well a language model predicts text: perplexity, and the texts and files of quantized models it is
measured on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.data.assets import locate

if TYPE_CHECKING:
    import pandas as pd


def film_summaries() -> list[str]:
    """Plots of 997 films in English prose (asset ``film-summaries``), in the order of the file."""
    content = json.loads((locate("film-summaries") / "movie_summaries.json").read_text(encoding="utf-8"))
    values = content.values() if isinstance(content, dict) else content
    return [
        text
        for text in (v if isinstance(v, str) else " ".join(map(str, v.values())) for v in values)
        if text.strip()
    ]


def windows(tokenizer: Any, texts: list[str], tokens: int, length: int) -> np.ndarray:
    """The first ``tokens`` tokens of the texts, one after another with the end-of-text token between, as rows
    ``[tokens / length, length]``."""
    end = tokenizer.eos_token_id
    ids: list[int] = []
    for text in texts:
        ids += [*tokenizer(text, add_special_tokens=False)["input_ids"], end]
        if len(ids) >= tokens:
            break
    n = min(len(ids), tokens) // length
    if not n:
        raise InputError(
            f"tokens={tokens}, length={length}: the texts hold {len(ids)} tokens, less than one window"
        )
    return np.array(ids[: n * length], dtype=np.int64).reshape(n, length)


def perplexity(model: Any, ids: np.ndarray, batch: int = 4) -> float:
    """``exp`` of the mean negative log-likelihood of every token of ``ids [windows, length]`` after the first
    of its window.

    model: a causal language model of transformers. A model that predicts each token with certainty has 1, one
    that guesses has its vocabulary's size.
    """
    import torch

    lost, count = 0.0, 0
    with torch.inference_mode():
        for start in range(0, len(ids), batch):
            rows = torch.from_numpy(ids[start : start + batch]).to(model.device)
            logits = model(input_ids=rows, use_cache=False).logits[:, :-1].float()
            lost += float(
                torch.nn.functional.cross_entropy(
                    logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="sum"
                )
            )
            count += rows[:, 1:].numel()
    return float(np.exp(lost / count))


def language_model(name: str = "smollm2", dtype: str = "float32") -> tuple[Any, Any]:
    """A causal language model with its head, and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from recsys_lib.core.quiet import quiet
    from recsys_lib.data.assets import resolve_model

    source = resolve_model(name)
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(source, dtype=getattr(torch, dtype)).eval()
        return model, AutoTokenizer.from_pretrained(source)


def gguf_table(path: Path | None = None) -> pd.DataFrame:
    """What a GGUF file keeps its tensors in: one row per kind of number, with tensors, weights, bytes and
    bits per weight. Default: SmolLM2's."""
    import pandas as pd
    from gguf import GGUFReader

    path = path or next(locate("smollm2").glob("*.gguf"))
    tensors = [
        (t.tensor_type.name, t.name, int(t.n_elements), int(t.n_bytes)) for t in GGUFReader(path).tensors
    ]
    table = pd.DataFrame(tensors, columns=["kind", "name", "weights", "bytes"]).groupby("kind").agg(
        tensors=("name", "size"), weights=("weights", "sum"), bytes=("bytes", "sum")
    )  # fmt: skip
    table["bits per weight"] = 8 * table["bytes"] / table["weights"]
    return table.sort_values("bytes", ascending=False)
