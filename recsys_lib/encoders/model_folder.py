"""What a sentence-transformers folder, local or on a hub, says of its model: pooling, layers after it,
prompts, limits.

The files are ``modules.json``, ``sentence_bert_config.json``, ``config_sentence_transformers.json`` and the
``config.json`` of each module (https://sbert.net/docs/sentence_transformer/usage/custom_models.html). What is
not understood is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.core.files import sha256_of
from recsys_lib.core.quiet import quiet

if TYPE_CHECKING:
    import torch

# The names of sentence-transformers for a pooling, old (one flag each) and new (pooling_mode), and ours.
FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weighted",
    "pooling_mode_lasttoken": "last",
}
MODES = {
    "cls": "cls", "max": "max", "mean": "mean", "mean_sqrt_len_tokens": "mean_sqrt_len",
    "weightedmean": "weighted",
    "lasttoken": "last",
}  # fmt: skip
LIMIT_FILES = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid", "LeakyReLU", "ELU", "Mish", "Softplus")
# Arguments that a folder may hand to transformers without changing the vectors beyond rounding.
HARMLESS = {
    "dtype",
    "torch_dtype",
    "attn_implementation",
    "use_safetensors",
    "padding_side",
    "model_max_length",
}
CONTENT = ("*.safetensors", "*.bin", "*.json", "*.txt", "*.model", "*.jinja")


@dataclass(frozen=True)
class Step:
    """A layer after the pooling: "dense" with the folder of its weights, or "normalize"."""

    kind: str
    path: str = ""
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Form:
    """How a model's token vectors become the vector of a text."""

    subfolder: str = ""
    pooling: str = "mean"
    include_prompt: bool = True
    steps: tuple[Step, ...] = ()
    max_tokens: int | None = None
    lower_case: bool = False
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt: str = ""


@dataclass(frozen=True)
class Files:
    """The files of a model: a local folder, or a repository of a hub at one commit."""

    name: str
    source: str
    revision: str | None = None

    @property
    def is_local(self) -> bool:
        return Path(self.source).is_dir()

    def path(self, file: str) -> Path | None:
        """Where ``file`` lies, downloaded if need be; None if the model has no such file."""
        if self.is_local:
            here = Path(self.source) / file
            return here if here.is_file() else None
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        with quiet():
            try:
                return Path(hf_hub_download(self.source, file, revision=self.revision))
            except LocalEntryNotFoundError as error:
                raise self._unreachable(error) from error
            except EntryNotFoundError:
                return None
            except (OSError, ValueError) as error:
                raise self._unreachable(error) from error

    def json(self, file: str) -> Any:
        """The content of a JSON file; None if the model has no such file."""
        path = self.path(file)
        if path is None:
            return None
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"model {self.name!r}: {file} is not valid JSON ({error})") from error

    def pinned(self) -> Files:
        """The same at the commit that the revision names now, so that all files are of one state."""
        if self.is_local:
            return self
        path = self.path("config.json") or self.path("modules.json")
        if path is None:
            raise InputError(
                f"model {self.name!r} could not be loaded: it has no config.json and no modules.json"
            )
        snapshots = [i for i, part in enumerate(path.parts) if part == "snapshots"]
        return Files(self.name, self.source, path.parts[snapshots[-1] + 1] if snapshots else self.revision)

    def fingerprint(self) -> str:
        """What tells this model from every other: the commit, or a hash of all weights and configuration."""
        if not self.is_local:
            return f"{self.source}@{self.revision}"
        folder = Path(self.source)
        found = sorted({p for pattern in CONTENT for p in folder.rglob(pattern)})
        return _content(tuple((str(p), str(p.relative_to(folder)), *_state(p)) for p in found))

    def _unreachable(self, error: Exception) -> InputError:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return InputError(f"model {self.name!r} could not be loaded: {reason}")


def _state(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


@lru_cache(maxsize=64)
def _content(files: tuple[tuple[str, str, int, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, name, *_ in files:
        digest.update(f"{name}\0{sha256_of(Path(path))}\0".encode())
    return digest.hexdigest()[:32]


def read(files: Files) -> Form:
    """The form of a model; that of a plain transformers folder is the mean of its tokens, as
    sentence-transformers has it.

    Raises:
        InputError: a module, a pooling or an option that is not supported here, or a file that cannot be
            read.
    """
    modules = files.json("modules.json")
    if modules is None:
        prompts, default_prompt = _prompts(files)
        return Form(prompts=prompts, default_prompt=default_prompt)
    kinds = [_kind(files, module) for module in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or not set(kinds[2:]) <= {"Dense", "Normalize"}:
        raise _refused(files, f"modules {', '.join(kinds)}", "Transformer, Pooling, then Dense or Normalize")
    subfolder = modules[0].get("path", "")
    limits = _limits(files, subfolder)
    pooling, include_prompt = _pooling(files, modules[1]["path"])
    prompts, default_prompt = _prompts(files)
    steps = tuple(_step(files, kind, m["path"]) for kind, m in zip(kinds[2:], modules[2:], strict=True))
    return Form(
        subfolder, pooling, include_prompt, steps, limits.get("max_seq_length"),
        bool(limits.get("do_lower_case")),
        prompts, default_prompt,
    )  # fmt: skip


def _refused(files: Files, given: str, expected: str) -> InputError:
    return InputError(f"model {files.name!r}: {given} not supported, expected {expected}")


def _kind(files: Files, module: dict[str, Any]) -> str:
    kind = str(module.get("type", ""))
    if not kind.startswith("sentence_transformers."):
        raise _refused(files, f"module {kind!r} is code of its own,", "modules of sentence-transformers")
    return kind.rpartition(".")[2]


def _limits(files: Files, subfolder: str) -> dict[str, Any]:
    """``sentence_bert_config.json``, or what it was called for other models."""
    prefix = f"{subfolder}/" if subfolder else ""
    found: dict[str, Any] = next(
        (c for c in (files.json(prefix + f) for f in LIMIT_FILES) if c is not None), {}
    )
    task = found.get("transformer_task", "feature-extraction")
    if task != "feature-extraction":
        raise _refused(files, f"transformer_task {task!r}", "feature-extraction")
    for name, value in found.items():
        if name.endswith(("_args", "_kwargs")) and isinstance(value, dict) and set(value) - HARMLESS:
            raise _refused(
                files, f"{name} {sorted(set(value) - HARMLESS)[0]!r}", f"only {', '.join(sorted(HARMLESS))}"
            )
    processor: dict[str, Any] = found.get("processor_kwargs") or found.get("tokenizer_args") or {}
    return {"max_seq_length": processor.get("model_max_length")} | {
        k: v for k, v in found.items() if v is not None
    }


def _pooling(files: Files, path: str) -> tuple[str, bool]:
    config = files.json(f"{path}/config.json") or {}
    modes = config.get("pooling_mode")
    if modes is None:
        kinds = [kind for flag, kind in FLAGS.items() if config.get(flag)] or ["mean"]
    else:
        names = [modes] if isinstance(modes, str) else list(modes)
        unknown = [m for m in names if m not in MODES]
        if unknown:
            raise _refused(files, f"pooling_mode {unknown[0]!r}", f"one of {', '.join(MODES)}")
        kinds = [MODES[m] for m in names]
    return "+".join(kinds), bool(config.get("include_prompt", True))


def _prompts(files: Files) -> tuple[dict[str, str], str]:
    config = files.json("config_sentence_transformers.json") or {}
    prompts = {name: text for name, text in (config.get("prompts") or {}).items() if text is not None}
    default = config.get("default_prompt_name")
    if default is not None and default not in prompts:
        raise _refused(
            files, f"default_prompt_name {default!r}", f"one of {', '.join(prompts) or 'no prompts'}"
        )
    return prompts, prompts[default] if default else ""


def _step(files: Files, kind: str, path: str) -> Step:
    config = files.json(f"{path}/config.json") or {}
    for name in ("module_input_name", "module_output_name"):
        if config.get(name) not in (None, "sentence_embedding"):
            raise _refused(files, f"{kind} with {name} {config[name]!r}", "sentence_embedding")
    if kind == "Dense":
        activation = config.get("activation_function", "torch.nn.modules.activation.Tanh")
        module, _, name = activation.rpartition(".")
        if not module.startswith("torch.nn") or name not in ACTIVATIONS:
            raise _refused(
                files, f"activation_function {activation!r}", f"one of {', '.join(ACTIVATIONS)} of torch.nn"
            )
    return Step(kind.lower(), path, config)


def head(files: Files, steps: tuple[Step, ...]) -> Callable[[np.ndarray], np.ndarray]:
    """The layers after the pooling as one function of float32 vectors ``[n, d]``."""
    import torch

    layers = [_dense(files, step) if step.kind == "dense" else _normalize for step in steps]

    def run(vectors: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            current = torch.from_numpy(vectors)
            for layer in layers:
                current = layer(current)
            return current.numpy()

    return run


def _normalize(vectors: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.nn.functional.normalize(vectors, dim=-1)


def _dense(files: Files, step: Step) -> Callable[[torch.Tensor], torch.Tensor]:
    import torch
    from safetensors.torch import load_file

    path = files.path(f"{step.path}/model.safetensors")
    if path is not None:
        weights = load_file(path)
    else:
        path = files.path(f"{step.path}/pytorch_model.bin")
        if path is None:
            raise _refused(files, f"{step.path} without weights", "model.safetensors or pytorch_model.bin")
        weights = torch.load(path, map_location="cpu", weights_only=True)
    name = step.config.get("activation_function", "Tanh").rpartition(".")[2]
    activation = getattr(torch.nn, name)()
    weight, bias = weights["linear.weight"].float(), weights.get("linear.bias")
    bias = None if bias is None else bias.float()

    def layer(vectors: torch.Tensor) -> torch.Tensor:
        out = activation(torch.nn.functional.linear(vectors, weight, bias))
        if step.config.get("use_residual"):
            other = weights.get("residual.weight")
            out = out + (vectors if other is None else vectors @ other.float().T)
        return out

    return layer
