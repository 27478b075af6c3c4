"""Ways to run the same transformer: eager torch, ``torch.compile``, torchao, OpenVINO, onnxruntime, and our
own C (``native``).

Each takes texts as token ids and gives their pooled vectors. Which is fastest depends on the processor, so
``fastest`` measures once per machine, model and precision and remembers the answer in the cache folder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from recsys_lib.core.errors import InputError
from recsys_lib.core.paths import cache_dir
from recsys_lib.core.quiet import quiet
from recsys_lib.encoders import native
from recsys_lib.encoders.pooling import pool
from recsys_lib.encoders.remembered_choices import remembered
from recsys_lib.hardware import machine

Tokens = Sequence[tuple[Sequence[int], int]]
Run = Callable[[Tokens], np.ndarray]


class Source(Protocol):
    """What a backend asks of the encoder that it runs."""

    name: str
    backend: str
    precision: str
    pooling: str
    device: str
    options: dict[str, Any]

    @property
    def config(self) -> Any: ...

    @property
    def model(self) -> Any: ...

    @property
    def tokenizer(self) -> Any: ...

    @property
    def is_decoder(self) -> bool: ...

    def fresh_model(self) -> Any: ...

    def tokenize(self, texts: list[str]) -> list[tuple[list[int], int]]: ...

    def run_tokens(self, tokenized: list[tuple[list[int], int]]) -> np.ndarray: ...

    def with_backend(self, backend: str) -> Source: ...


# Backend → the precisions it has here, and the packages it needs beside requirements.txt.
PRECISIONS: dict[str, tuple[str, ...]] = {
    "torch": ("float32", "bfloat16", "float16", "int8"),
    "compile": ("float32", "bfloat16", "float16", "int8"),
    "torchao": ("int8", "int8-weight", "int4-weight"),
    "openvino": ("float32", "bfloat16", "int8"),
    "onnxruntime": ("float32", "int8"),
    "native": native.PRECISIONS,
}
PACKAGES = {
    "torchao": ("torchao",),
    "openvino": ("openvino", "nncf"),
    "onnxruntime": ("onnxruntime", "onnx", "onnxscript"),
}
# Compiling takes a minute and torchao is never ahead on a CPU: "auto" leaves them out.
CANDIDATES = ("native", "openvino", "onnxruntime", "torch")
CALIBRATION_TEXTS = 256


def why_not(encoder: Source, backend: str) -> str:
    """Why ``backend`` cannot run this encoder here, in one line; empty if it can."""
    if encoder.precision not in PRECISIONS[backend]:
        return f"precision {encoder.precision!r}: backend {backend!r} has {', '.join(PRECISIONS[backend])}"
    absent = [p for p in PACKAGES.get(backend, ()) if importlib.util.find_spec(p) is None]
    if absent:
        return (
            f"backend {backend!r} needs {', '.join(absent)}: run pip install --no-deps -r "
            f"requirements-bench.txt"
        )
    if backend == "compile" and encoder.device == "cpu" and not shutil.which(os.environ.get("CXX", "g++")):
        return "backend 'compile' needs a C++ compiler (g++, or the CXX environment variable)"
    if backend in ("native", "openvino", "onnxruntime") and (encoder.device != "cpu" or encoder.is_decoder):
        return (
            f"backend {backend!r} runs encoders on a CPU, not "
            f"{'a decoder' if encoder.is_decoder else encoder.device}"
        )
    if backend != "native":
        return ""
    if encoder.pooling not in native.POOLINGS:
        return f"the native path has no pooling {encoder.pooling!r}, only {', '.join(native.POOLINGS)}"
    return native.why_not(encoder.config, encoder.precision)


def build(encoder: Source) -> Run:
    """How ``encoder.backend`` makes vectors of tokens.

    Raises:
        InputError: a backend that cannot run this encoder here.
    """
    reason = why_not(encoder, encoder.backend)
    if reason:
        raise InputError(reason)
    makers = {"openvino": _openvino, "onnxruntime": _onnxruntime, "native": _native}
    return makers.get(encoder.backend, _torch)(encoder)


def padded(encoder: Source, batch: Tokens, multiple: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Token ids, attention mask and mask of the pooled part, each ``[texts, longest]`` int64."""
    longest = max(1, max(len(ids) for ids, _ in batch))
    shape = (len(batch), -(-longest // multiple) * multiple)
    ids = np.full(shape, encoder.tokenizer.pad_token_id or 0, dtype=np.int64)
    mask, pooled = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for row, (tokens, begin) in enumerate(batch):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
        pooled[row, begin : len(tokens)] = 1
    return ids, mask, pooled


# ---------------------------------------------------------------- torch


def _torch(encoder: Source) -> Run:
    model = encoder.model
    if encoder.precision == "int8" and encoder.backend != "torchao":
        replace_linears(model, Int8Linear)
    if encoder.backend == "torchao":
        _quantize_with_torchao(model, encoder.precision)
    compiled = encoder.backend == "compile" or (encoder.backend == "torchao" and encoder.precision == "int8")
    if compiled:
        # On a GPU "reduce-overhead" records CUDA graphs, one per shape: lengths are rounded up so that there
        # are few.
        model = torch.compile(model, dynamic=None if encoder.device == "cuda" else True,
                              mode="reduce-overhead" if encoder.device == "cuda" else None)  # fmt: skip
    multiple = 16 if compiled and encoder.device == "cuda" else 1
    options: dict[str, Any] = {"use_cache": False} if encoder.is_decoder else {}

    def run(batch: Tokens) -> np.ndarray:
        ids, mask, pooled = (torch.from_numpy(a).to(encoder.device) for a in padded(encoder, batch, multiple))
        # Without padding there is nothing to mask, and attention without a mask is faster.
        masked = {} if bool(mask.all()) else {"attention_mask": mask}
        with torch.inference_mode():
            hidden = model(input_ids=ids, **masked, **options).last_hidden_state
            return pool(encoder.pooling, hidden, pooled).cpu().numpy()

    return run


def replace_linears(model: Any, kind: Callable[[Any], Any]) -> None:
    """Put ``kind(linear)`` in the place of every ``torch.nn.Linear`` inside ``model``."""
    for name, child in list(model.named_children()):
        if type(child) is torch.nn.Linear:
            setattr(model, name, kind(child))
        else:
            replace_linears(child, kind)


class Int8Linear(torch.nn.Module):
    """A linear layer in 8-bit integers, symmetric: weights per output channel, activations per token.

    On a processor whose products of large codes are wrong the weights are a sum of two halves, each with a
    product of its own: the same numbers in twice the time.
    """

    weight: torch.Tensor
    rest: torch.Tensor | None
    step: torch.Tensor

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        weight, step = native.quantize_rows(linear.weight.detach().float().cpu().numpy())
        device = linear.weight.device
        halves = [weight]
        if device.type == "cpu" and machine.int8_products_saturate():
            halves = [weight // 2, weight - weight // 2]
        # Column-major, as the product expects.
        columns = [torch.from_numpy(half).to(device).t() for half in halves]
        self.register_buffer("weight", columns[0])
        self.register_buffer("rest", columns[1] if len(columns) > 1 else None)
        self.register_buffer("step", torch.from_numpy(step).to(device))
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        scale = rows.abs().amax(dim=1, keepdim=True).float().clamp(min=1e-9) / 127
        codes = torch.round(rows / scale).to(torch.int8)
        short = 32 - len(codes)
        if x.is_cuda and short > 0:  # fewer rows than the GPU's units take
            codes = torch.nn.functional.pad(codes, (0, 0, 0, short))
        sums = torch._int_mm(codes, self.weight)
        if self.rest is not None:
            sums += torch._int_mm(codes, self.rest)
        y = sums[: len(rows)].float() * (scale * self.step)
        y = y if self.bias is None else y + self.bias
        return y.to(x.dtype).reshape(*x.shape[:-1], -1)


def _quantize_with_torchao(model: Any, precision: str) -> None:
    import logging

    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)  # what torchao registers, torch warns of
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torchao.quantization as ao
        from torchao.quantization.granularity import PerGroup

        kinds = {
            "int8": lambda: ao.Int8DynamicActivationInt8WeightConfig(),
            "int8-weight": lambda: ao.Int8WeightOnlyConfig(),
            "int4-weight": lambda: ao.IntxWeightOnlyConfig(
                weight_dtype=torch.int4,  # type: ignore[attr-defined]
                granularity=PerGroup(32),
            ),
        }
        ao.quantize_(model, kinds[precision]())


# ---------------------------------------------------------------- other run times


class Hidden(torch.nn.Module):
    """A transformer that takes ids and mask and gives the last layer, as converters expect it."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


def _example() -> dict[str, Any]:
    return {name: torch.ones(2, 8, dtype=torch.long) for name in ("input_ids", "attention_mask")}


# What a converted model is kept as, and the packages whose version decides how it looks.
KEPT = {
    "openvino": (".xml", ("openvino", "nncf")),
    "onnxruntime": (".onnx", ("onnxruntime", "onnx", "torch")),
}


def converted(encoder: Source) -> list[Path]:
    """Files of the model as its backend converted and kept it;
    none for backends that read the model's own, or before the first text.
    """
    path = _kept(encoder) if encoder.backend in KEPT else None
    return [] if path is None else [p for p in (path, path.with_suffix(".bin")) if p.is_file()]


def _kept(encoder: Source) -> Path:
    """Where a converted model is kept: apart per weights, precision and versions."""
    from importlib.metadata import version

    suffix, packages = KEPT[encoder.backend]
    parts = [
        encoder.options["weights"],
        encoder.precision,
        encoder.backend,
        *(f"{p} {version(p)}" for p in packages),
    ]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    folder = cache_dir() / "converted"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{encoder.options['model']}-{encoder.backend}-{encoder.precision}-{key}{suffix}"


def _pooled(encoder: Source, infer: Callable[[dict[str, np.ndarray]], np.ndarray]) -> Run:
    def run(batch: Tokens) -> np.ndarray:
        ids, mask, pooled = padded(encoder, batch)
        hidden = torch.from_numpy(np.asarray(infer({"input_ids": ids, "attention_mask": mask})))
        return pool(encoder.pooling, hidden, torch.from_numpy(pooled)).numpy()

    return run


def calibration(encoder: Source, n: int = CALIBRATION_TEXTS) -> list[tuple[list[int], int]]:
    """Tokens of film titles with genres and years, drawn at random:
    catalogue text to calibrate and to time with.
    """
    from recsys_lib.data import datasets

    texts = datasets.load("ml-100k").item_texts()
    chosen = np.random.default_rng(0).permutation(len(texts))[:n]
    return encoder.tokenize([texts[i] for i in chosen])


def _openvino(encoder: Source) -> Run:
    """OpenVINO; int8 by NNCF's post-training quantization, whose ranges of activations are fixed by
    ``calibration``.
    """
    import openvino

    core = openvino.Core()
    path = _kept(encoder)
    if path.is_file() and path.with_suffix(".bin").is_file():
        model = core.read_model(path)
    else:
        with quiet(), torch.no_grad():
            model = openvino.convert_model(Hidden(encoder.fresh_model()).eval(), example_input=_example())
            if encoder.precision == "int8":
                model = _quantize_with_nncf(model, encoder)
            _save_openvino(model, path)
    options = {"INFERENCE_PRECISION_HINT": "bf16" if encoder.precision == "bfloat16" else "f32",
        "PERFORMANCE_HINT": "LATENCY",
               "INFERENCE_NUM_THREADS": torch.get_num_threads()}  # fmt: skip
    request = core.compile_model(model, "CPU", options).create_infer_request()
    return _pooled(encoder, lambda inputs: request.infer(inputs, share_inputs=True, share_outputs=True)[0])


def _save_openvino(model: Any, path: Path) -> None:
    """Write beside, then rename; weights first, so that a model that is there has its own.

    An end in between leaves none.
    """
    import openvino

    with tempfile.TemporaryDirectory(dir=path.parent) as beside:
        written = Path(beside) / path.name
        openvino.save_model(model, written, compress_to_fp16=False)
        path.unlink(missing_ok=True)
        os.replace(written.with_suffix(".bin"), path.with_suffix(".bin"))
        os.replace(written, path)


def _quantize_with_nncf(model: Any, encoder: Source) -> Any:
    import logging

    import nncf

    nncf.set_log_level(logging.ERROR)
    tokens = calibration(encoder)
    batches = [dict(zip(("input_ids", "attention_mask"), padded(encoder, tokens[i : i + 8])[:2], strict=True))
               for i in range(0, len(tokens), 8)]  # fmt: skip
    return nncf.quantize(
        model, nncf.Dataset(batches), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(batches)
    )


def _onnxruntime(encoder: Source) -> Run:
    """onnxruntime; int8 by its dynamic quantization: weights per channel,
    activations per tensor as they come.
    """
    import onnxruntime

    path = _kept(encoder)
    if not path.is_file():
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _export(encoder, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return _pooled(encoder, lambda inputs: session.run(None, inputs)[0])


def _export(encoder: Source, path: Any) -> None:
    shape = {0: torch.export.Dim("texts"), 1: torch.export.Dim("tokens")}
    with tempfile.TemporaryDirectory(dir=path.parent) as beside:
        written = Path(beside) / "float32.onnx"
        with torch.no_grad():
            torch.onnx.export(
                Hidden(encoder.fresh_model()).eval(), kwargs=_example(), f=written, dynamo=True,
                external_data=False, verbose=False,
                input_names=["input_ids", "attention_mask"],
                dynamic_shapes={"input_ids": shape, "attention_mask": shape},
            )  # fmt: skip
        if encoder.precision == "int8":
            from onnxruntime.quantization import QuantType, quantize_dynamic

            full, written = written, Path(beside) / "int8.onnx"
            options = {"MatMulConstBOnly": True}
            quantize_dynamic(
                full, written, weight_type=QuantType.QInt8, per_channel=True, extra_options=options
            )
        os.replace(written, path)


def _native(encoder: Source) -> Run:
    model = native.NativeBert(encoder.fresh_model(), encoder.precision)

    def run(batch: Tokens) -> np.ndarray:
        return model.encode(batch, encoder.pooling, torch.get_num_threads())

    return run


# ---------------------------------------------------------------- choosing


def fastest(encoder: Source) -> str:
    """The backend that encodes most texts per second in this precision on this machine: measured once, then
    remembered.

    On equal times the first of ``CANDIDATES`` wins.
    """
    from recsys_lib.hardware import timing

    able = [b for b in CANDIDATES if not why_not(encoder, b)]
    if not able:
        raise InputError(
            f"precision={encoder.precision!r}: no backend of {', '.join(CANDIDATES)} has it for "
            f"{encoder.name!r} here"
        )

    def measured() -> dict[str, Any]:
        tokens = calibration(encoder)
        compared = {b: encoder.with_backend(b) for b in able}
        runs = {b: partial(e.run_tokens, tokens) for b, e in compared.items()}
        timed = timing.compare(runs, min_samples=5, amount=len(tokens))
        return {"backend": min(timed, key=lambda b: timed[b].p50), "model": encoder.options["model"],
                "precision": encoder.precision,
                "texts_per_s": {b: m.throughput for b, m in timed.items()}}  # fmt: skip

    parts = [encoder.device, encoder.options["weights"], encoder.precision, *able]
    return remembered("backends.json", parts, measured)["backend"]


def fast_precision(device: str, model: str, backend: str) -> str:
    """What ``precision="auto"`` means: bfloat16 on a GPU, and on a processor that multiplies it at least 1.2
    times as fast as float32.

    Below that ratio, a tie included, it is float32. Measured once per machine, model and backend and then
    remembered, so that load on the machine cannot change it from run to run. For speed only: a number that is
    compared names its precision.
    """
    if device == "cuda":
        return "bfloat16"

    def measured() -> dict[str, Any]:
        return {"precision": "bfloat16" if machine.bfloat16_is_faster() else "float32", "model": model}

    return remembered("precision.json", [device, model, backend], measured)["precision"]
