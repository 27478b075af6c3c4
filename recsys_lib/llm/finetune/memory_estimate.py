"""How much memory a step of training needs, by part, before the first one is taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_lib.core import memory

if TYPE_CHECKING:
    from recsys_lib.llm.finetune.text_model import TextModel
    from recsys_lib.llm.finetune.trainer import Trainer

# Batches of the first epoch that are looked at for the largest one.
LOOKED_AT = 200


@dataclass(frozen=True)
class Estimate:
    """Bytes of a step by part.

    weights: all of the model and of the objective, there before the first step. moments: the two of AdamW
    for each trained weight. gradients: of each trained weight. activations: what the largest pass keeps for
    its backward pass. loss: what the objective keeps. transient: tensors that live for one layer of the
    backward pass.
    """

    weights: float
    moments: float
    gradients: float
    activations: float
    loss: float
    transient: float

    @property
    def added(self) -> float:
        """What training adds to the weights: moments stay, what the loss keeps is gone before the layers'
        backward pass, and gradients take the place of activations layer by layer, so the larger of them
        counts.
        """
        return self.moments + max(self.activations + max(self.loss, self.transient), self.gradients)

    @property
    def total(self) -> float:
        return self.weights + self.added


def estimate(trainer: Trainer) -> Estimate:
    """The memory of the largest step of the first epoch.

    Activations are counted, not guessed: a text of each of two lengths goes through the model, the tensors
    that autograd keeps are summed, and ``a n + b n²`` bytes of a text of n tokens follow.
    """
    model = trainer.model
    every = sum(p.numel() for p in model.model.parameters()) + sum(p.numel() for p in trainer.own.values())
    trained = sum(p.numel() for p in trainer.trained.values())
    linear, square = _kept_bytes(model)
    widest = _widest(model)
    layers, hidden = _layer_sizes(model)
    activations = transient = 0.0
    for groups in _passes(trainer):
        lengths, texts = np.array(groups, dtype=float).T
        kept, tokens = texts * (linear * lengths + square * lengths**2), texts * lengths
        if model.checkpointing:
            # The inputs of all layers, and the activations of one layer of one group.
            found = 4.0 * layers * hidden * tokens.sum() + kept.max() / layers
        else:
            found = kept.sum()
        activations = max(activations, float(found))
        # The gradients of the widest layer's output and input, for one group at a time.
        transient = max(transient, 8.0 * widest * float(tokens.max()))
    return Estimate(4.0 * every, 8.0 * trained, 4.0 * trained, activations, _loss_bytes(trainer), transient)


def check_fits(trainer: Trainer) -> Estimate:
    """The estimate, if this machine has the memory.

    Raises:
        InputError: it has not; the line says what to make smaller.
    """
    found = estimate(trainer)
    if trainer.model.device == "cpu":
        per_pass = trainer.settings.texts_per_pass
        memory.require(
            found.added,
            f"training {trainer.model.trained!r} weights with {per_pass} texts a pass",
            "encode fewer texts a pass, keep fewer activations (checkpointing) or train fewer weights (lora)",
        )
    return found


def _passes(trainer: Trainer) -> list[list[tuple[int, int]]]:
    """The passes of an epoch's batches, each as groups: tokens of the longest text, number of texts."""
    from recsys_lib.llm.finetune.text_model import GROUP

    found = []
    for step in range(min(trainer.batches.per_epoch, LOOKED_AT)):
        tokens, places = trainer._tokens(trainer.batches.batch(step))
        for rows in places:
            lengths = [len(tokens[i][0]) for i in rows]
            groups = [lengths[i : i + GROUP] for i in range(0, len(lengths), GROUP)]
            found.append([(max(1, *group, 1), len(group)) for group in groups])
    return found


def _kept_bytes(model: TextModel) -> tuple[float, float]:
    """``a, b``: a text of n tokens keeps ``a n + b n²`` bytes for its backward pass."""
    longest = max((len(ids) for ids, _ in model.tokens), default=1)
    lengths = sorted({8, max(16, min(64, longest))})
    counts = [_kept_of(model, n) for n in lengths]
    (n, m), (x, y) = lengths, counts
    square = max(0.0, (y / m - x / n) / (m - n))
    return x / n - square * n, square


def _kept_of(model: TextModel, tokens: int) -> float:
    """Bytes that autograd keeps of a text with so many tokens, weights and what is shared left out."""
    import torch

    seen: dict[int, int] = {}
    own = {p.untyped_storage().data_ptr() for p in model.model.parameters()}
    own |= {b.untyped_storage().data_ptr() for b in model.model.buffers()}

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = next((ids for ids, _ in model.tokens if ids), [0])
    text = [(list(ids) * (tokens // len(ids) + 1))[:tokens]]
    model.model.eval()  # layers' activations are kept, whatever checkpointing does in training
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        vectors = model.of_tokens([(text[0], 0)])
    model.model.train()
    del vectors
    return float(sum(seen.values()))


def _loss_bytes(trainer: Trainer) -> float:
    """What the objective keeps in the first step, and as much again for its gradients."""
    import torch

    batch = trainer.batches.batch(0)
    n = len(batch.items) + len(trainer.objective.texts(batch))
    seen: dict[int, int] = {}
    own = {p.untyped_storage().data_ptr() for p in trainer.own.values()}

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    vectors = torch.ones((n, trainer.model.dimension), device=trainer.model.device, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        trainer.objective.loss(vectors[: len(batch.items)], vectors[len(batch.items) :], batch)
    return 2.0 * sum(seen.values())


def measured(trainer: Trainer, steps: int = 2) -> float:
    """Bytes that ``steps`` steps added at their peak to what the loaded model takes.

    Before, the weights are touched and two texts go through the model and back, so that libraries' buffers
    and pages of the weights' file, which no estimate knows, are there already. Freed memory goes back to
    the system from here on (``memory.return_freed``): an allocator that keeps it takes up to twice as much.
    """
    from recsys_lib.hardware import timing

    memory.return_freed()
    for parameter in trainer.model.model.parameters():
        float(parameter.detach().sum())
    trainer.model.vectors(np.arange(min(2, len(trainer.model.texts)))).sum().backward()
    trainer.optimizer.zero_grad(set_to_none=True)
    return float(timing.peak_memory(lambda: [trainer.step() for _ in range(steps)]).added)


def _layer_sizes(model: TextModel) -> tuple[int, int]:
    config = model.source.config.get_text_config()
    return int(config.num_hidden_layers), int(config.hidden_size)


def _widest(model: TextModel) -> int:
    config = model.source.config.get_text_config()
    return int(getattr(config, "intermediate_size", None) or 4 * _layer_sizes(model)[1])
