"""Language models timed: prefill and decode of a trained one, and any size by configuration with random
weights.

Random weights take the same time as trained ones: a dense model's arithmetic does not depend on its numbers.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import psutil

from recsys_lib import cost
from recsys_lib.benchmarks.workloads.timed_rows import PROTOCOL, counting, model_row
from recsys_lib.core.quiet import quiet
from recsys_lib.cost import Architecture
from recsys_lib.hardware import machine
from recsys_lib.hardware.timing import measure, peak_memory
from recsys_lib.llm import perplexity

# From 22 million to 8 billion parameters, encoders and decoders.
SIZES = ("minilm", "bert-base", "e5-large", "qwen2.5-0.5b", "smollm2-1.7b", "qwen3-8b", "llama-3-8b")
# Share of the free memory that a model may take; beyond it nothing is measured.
USABLE = 0.6


def build(name: str, device: str, dtype: Any, head: bool = True, attention: str = "sdpa") -> Any:
    """A model of ``data/models.toml`` with random weights on ``device``; ``head``: with its output matrix, if
    it generates.

    Raises:
        InputError: an unknown name.
    """
    import torch

    with quiet():
        from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

        sized, plain = cost.architecture(name), dict(cost.models()[name]["config"])
        config = AutoConfig.for_model(plain.pop("model_type"), **plain)
        kind = AutoModelForCausalLM if head and sized.generates else AutoModel
        with torch.device(device):
            return kind.from_config(config, attn_implementation=attention, dtype=dtype).eval()


def free_bytes(device: str) -> int:
    """Memory free now, of the process's machine or of the GPU."""
    import torch

    return torch.cuda.mem_get_info()[0] if device == "cuda" else psutil.virtual_memory().available


def fits(name: str, precision: str, device: str) -> bool:
    """Whether the model's weights take at most ``USABLE`` of the free memory."""
    return cost.weight_bytes(cost.architecture(name), precision, kept=()) <= USABLE * free_bytes(device)


def random_points(
    names: tuple[str, ...] = SIZES,
    tokens: int = 16,
    batch: int = 8,
    precision: str = "bfloat16",
    device: str = "cpu",
) -> list[dict[str, Any]]:
    """Models with random weights read ``batch`` texts of ``tokens``; those that do not fit into memory are
    left out.

    Each row also has ``memory_bytes``: bytes of its tensors, and the peaks of process and device.

    Raises:
        InputError: an unknown name; ``device="cuda"`` without a GPU.
    """
    import torch

    machine.check_device(device)
    rows = []
    for name in names:
        if not fits(name, precision, device):
            continue
        model, sized = build(name, device, getattr(torch, precision), head=False), cost.architecture(name)
        ids = torch.randint(1000, 20_000, (batch, tokens), device=device)
        options: dict[str, Any] = {} if sized.reads_with == "encoder" else {"use_cache": False}
        with torch.inference_mode():
            timed = measure(
                partial(model, input_ids=ids, **options),
                "encode",
                amount=batch,
                amount_unit="texts",
                **PROTOCOL,
            )
            use = peak_memory(partial(model, input_ids=ids, **options))
        counted = cost.encode_bound(sized, counting(precision), tokens, batch, precision, precision)
        shape = {"batch": batch, "tokens": tokens, "parameters": cost.parameters(sized)}
        held = {
            "weights": sum(p.nbytes for p in model.parameters()),
            "process_peak": use.peak,
            "device_peak": use.device_peak,
        }
        rows.append(
            model_row("encode, random weights", name, device, precision, shape, counted, timed)
            | {"memory_bytes": held}
        )
        del model
    return rows


def trained(precision: str, device: str) -> tuple[Any, Architecture]:
    """SmolLM2-135M with its trained weights and its output matrix.

    Raises:
        InputError: it was not fetched.
    """
    model, _ = perplexity.language_model("smollm2", precision)
    return model.to(device), cost.architecture("smollm2-135m")


def generation_points(
    prompts: tuple[int, ...] = (16, 128, 512),
    contexts: tuple[int, ...] = (128, 1024),
    batches: tuple[int, ...] = (1, 8),
    precisions: tuple[str, ...] = ("float32", "bfloat16"),
    device: str = "cpu",
) -> list[dict[str, Any]]:
    """SmolLM2 reads a prompt and predicts its first token (prefill), and generates one more after so many
    (decode).

    Raises:
        InputError: the model was not fetched; ``device="cuda"`` without a GPU.
    """
    import torch

    machine.check_device(device)
    rows = []
    for precision in precisions:
        model, sized = trained(precision, device)
        with torch.inference_mode():
            for tokens in prompts:
                ids = torch.randint(1000, 20_000, (1, tokens), device=device)
                timed = measure(
                    partial(model, input_ids=ids, use_cache=True, logits_to_keep=1),
                    "prefill",
                    amount=tokens,
                    amount_unit="tokens",
                    **PROTOCOL,
                )
                counted = cost.prefill_bound(sized, counting(precision), tokens, 1, precision, precision)
                shape = {"batch": 1, "tokens": tokens}
                rows.append(model_row("prefill", "smollm2", device, precision, shape, counted, timed))
            rows += [_decode(model, sized, c, b, precision, device) for c in contexts for b in batches]
    return rows


def _decode(
    model: Any, sized: Architecture, context: int, batch: int, precision: str, device: str
) -> dict[str, Any]:
    import torch

    ids = torch.randint(1000, 20_000, (batch, context - 1), device=device)
    cache = model(input_ids=ids, use_cache=True, logits_to_keep=1).cache
    one = ids[:, :1]

    def step() -> None:
        # The token just added is taken out again, so that every sample has the same context.
        model(input_ids=one, cache=cache, use_cache=True)
        cache.crop(-1)

    timed = measure(step, "decode", amount=batch, amount_unit="tokens", **PROTOCOL)
    counted = cost.decode_bound(sized, counting(precision), context, batch, precision, precision)
    held = {"cache": sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)}
    shape = {"batch": batch, "context": context}
    return model_row("decode", "smollm2", device, precision, shape, counted, timed) | {"memory_bytes": held}
