"""An encoder of ``encoders`` as a differentiable function of texts, with a choice of the weights that are
trained.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib import encoders
from recsys_lib.core.errors import InputError
from recsys_lib.core.files import new_folder
from recsys_lib.core.quiet import quiet
from recsys_lib.encoders import backends, model_folder
from recsys_lib.encoders.pooling import parts, pool
from recsys_lib.encoders.transformer import Transformer

if TYPE_CHECKING:
    from torch import Tensor

TRAINED = "full, layers, last K (as in 'last 2') or lora"
# Texts that are padded together; neighbours in length within a pass.
GROUP = 32
# Ours to sentence-transformers' names of poolings, for the folder that is saved.
FLAG_OF = {kind: flag for flag, kind in model_folder.FLAGS.items()}


class TextModel:
    """The texts of a catalogue under a transformer whose weights can be trained.

    encoder: a name or folder of ``encoders.load``; float32. trained: "full", all weights; "layers", all but
    the tables of tokens and positions; "last K", the last K layers; "lora", low-rank adapters of ``rank``
    in all linear layers (Hu et al., "LoRA", ICLR 2022), by ``peft``. ``dropout``: of activations in
    training, 0 by default, so that a step is a function of its batch. ``checkpointing``: layers'
    activations are computed again in the backward pass instead of kept.

    Raises:
        InputError: an encoder without a transformer, with Dense layers or with echo pooling, an unknown
        choice of
            ``trained``, or ``peft`` missing.
    """

    def __init__(
        self,
        encoder: str,
        texts: Sequence[str],
        trained: str = "full",
        rank: int = 8,
        dropout: float = 0.0,
        checkpointing: bool = False,
        device: str = "cpu",
        seed: int = 0,
    ):
        self.source = _transformer(encoder, device)
        self.texts = encoders.check_texts(texts)
        self.tokens = self.source.tokenize(self.texts)
        self.source._check_ids(self.tokens)
        self.trained, self.rank, self.device = trained, rank, self.source.device
        self.model = _chosen(self.source.fresh_model(), trained, rank, seed)
        for module in self.model.modules():
            if type(module).__name__ == "Dropout":
                module.p = dropout
        if checkpointing:
            _recompute(self.model)
            if trained == "lora":
                self.model.enable_input_require_grads()
        self.checkpointing, self.dropout = checkpointing, dropout
        self.model.train()

    @property
    def dimension(self) -> int:
        return self.source.dimension

    def parameters(self) -> dict[str, Any]:
        """The trained weights by name, in a fixed order."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def n_tokens(self, rows: Sequence[int] | np.ndarray) -> int:
        """Tokens of these texts, padding left out."""
        return sum(len(self.tokens[i][0]) for i in rows)

    def by_length(self, rows: np.ndarray) -> np.ndarray:
        """``rows`` in order of their length, so that a pass over neighbours pads little."""
        lengths = [len(self.tokens[i][0]) for i in rows]
        return rows[np.argsort(lengths, kind="stable")]

    def vectors(self, rows: np.ndarray, bfloat16: bool = False) -> Tensor:
        """Vectors ``[len(rows), d]`` float32 of these texts, with their gradients."""
        return self.of_tokens([self.tokens[i] for i in rows], bfloat16)

    def of_texts(self, texts: Sequence[str], bfloat16: bool = False) -> Tensor:
        """The same for texts that are not of the catalogue, as a history written out."""
        return self.of_tokens(self.source.tokenize(list(texts)), bfloat16)

    def of_tokens(self, tokens: list[tuple[list[int], int]], bfloat16: bool = False) -> Tensor:
        """The same for what ``source.tokenize`` gave: ``GROUP`` texts are padded to one length at a time."""
        import torch

        groups = [tokens[i : i + GROUP] for i in range(0, len(tokens), GROUP)]
        return torch.cat([self._group(group, bfloat16) for group in groups])

    def _group(self, tokens: list[tuple[list[int], int]], bfloat16: bool) -> Tensor:
        import torch

        padded = backends.padded(self.source, tokens)
        ids, mask, pooled = (torch.from_numpy(a).to(self.device) for a in padded)
        with torch.autocast(self.device, torch.bfloat16, enabled=bfloat16):
            hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        vectors = pool(self.source.pooling, hidden, pooled)
        if self.source.steps:
            vectors = torch.nn.functional.normalize(vectors, dim=-1)
        return vectors

    def encode(self, texts: Sequence[str] | None = None, per_pass: int = 64) -> np.ndarray:
        """Vectors ``[n, d]`` float32 of all texts of the catalogue, or of others, as the model is now."""
        import torch

        tokens = self.tokens if texts is None else self.source.tokenize(encoders.check_texts(texts))
        found = np.empty((len(tokens), self.dimension), np.float32)
        order = np.argsort([len(ids) for ids, _ in tokens], kind="stable")
        self.model.eval()
        with torch.inference_mode():
            for start in range(0, len(order), per_pass):
                rows = order[start : start + per_pass]
                found[rows] = self.of_tokens([tokens[i] for i in rows]).cpu().numpy()
        self.model.train()
        return found

    def save(self, folder: str | Path) -> Path:
        """Write a sentence-transformers folder with the trained weights, adapters merged into them.

        ``encoders.load(folder)`` and sentence-transformers read it. It is written beside, then moved into
        place.

        Raises:
            InputError: the folder cannot be written, or holds something else.
        """
        with new_folder(Path(folder), "modules.json") as beside:
            self._write(beside)
        return Path(folder)

    def _write(self, folder: Path) -> None:
        model = self.model
        if self.trained == "lora":
            model = copy.deepcopy(model).merge_and_unload()
        source = self.source
        with quiet():
            model.save_pretrained(folder)
            source.tokenizer.save_pretrained(folder)
        kinds = ["Transformer", "Pooling", *(["Normalize"] if source.steps else [])]
        folders = ["", *(f"{i}_{kind}" for i, kind in enumerate(kinds) if i)]
        modules = [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (kind, path) in enumerate(zip(kinds, folders, strict=True))
        ]
        flags = dict.fromkeys(model_folder.FLAGS, False) | {FLAG_OF[k]: True for k in parts(source.pooling)}
        pooling = {"word_embedding_dimension": int(source.config.get_text_config().hidden_size)}
        prompts = {"default": source.prefix} if source.prefix else {}
        limits = {"max_seq_length": source.max_tokens_read, "do_lower_case": source.form.lower_case}
        content = {
            "modules.json": modules,
            "sentence_bert_config.json": limits,
            "config_sentence_transformers.json": {
                "prompts": prompts, "default_prompt_name": "default" if prompts else None,
            },
            "1_Pooling/config.json": pooling | flags | {"include_prompt": source.form.include_prompt},
        }  # fmt: skip
        for name, value in content.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
        for path in folders[2:]:
            (folder / path).mkdir(exist_ok=True)


def _transformer(encoder: str, device: str) -> Transformer:
    known = {} if encoder in ("tfidf", "genres", "wordllama") else {"device": device, "precision": "float32"}
    if not known:
        raise InputError(f"encoder {encoder!r} has no layers to train: expected a transformer, as minilm")
    source = encoders.load(encoder, cache=False, **known)
    assert isinstance(source, Transformer)
    if source.pooling == "echo" or any(step.kind == "dense" for step in source.steps):
        raise InputError(f"encoder {encoder!r}: echo pooling and Dense layers cannot be trained here")
    return source


def _chosen(model: Any, trained: str, rank: int, seed: int) -> Any:
    """The model with gradients for what is trained, and for nothing else."""
    if trained == "lora":
        return with_adapters(model, rank, seed)
    layers = _layers(model)
    count = {"full": len(layers), "layers": len(layers)}.get(trained)
    if trained.startswith("last "):
        count = int(trained[5:]) if trained[5:].isdigit() else None
    if count is None or not 1 <= count <= len(layers):
        raise InputError(f"trained={trained!r}: expected {TRAINED}, at most {len(layers)} layers")
    if trained != "full":
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        for layer in layers[-count:]:
            for parameter in layer.parameters():
                parameter.requires_grad_(True)
    return model


def _recompute(model: Any) -> None:
    """Keep the inputs of layers only; transformers has renamed the call."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable()


def _layers(model: Any) -> Any:
    """The model's repeated layers: the longest list of modules in it."""
    from torch import nn

    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    if not lists:
        raise InputError(f"{type(model).__name__}: has no list of layers, expected a transformer")
    return max(lists, key=len)


def with_adapters(model: Any, rank: int, seed: int) -> Any:
    """The model with low-rank adapters in all linear layers but the head, and gradients for these alone.

    Raises:
        InputError: ``peft`` is missing, or a rank below 1.
    """
    import torch

    if rank < 1:
        raise InputError(f"rank={rank!r}: expected at least 1")
    try:
        from peft import LoraConfig, get_peft_model
    except ModuleNotFoundError as error:
        raise InputError(
            "trained='lora': package 'peft' is not installed: "
            "run python -m pip install 'recsys_lib[training]'"
        ) from error
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(seed)
        config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear")
        return get_peft_model(model, config)
