"""``finetune``: an encoder trained on a user's own interactions, saved as a sentence-transformers folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys_lib.cli.arguments import choose, whole_number
from recsys_lib.core.errors import InputError

if TYPE_CHECKING:
    from recsys_lib.llm.finetune.trainer import Trainer

LOSSES = ("distilled", "contrastive", "both")


def _file(about: str) -> Any:
    return typer.Option(metavar="FILE", help=about)


def _name(about: str) -> Any:
    return typer.Option(metavar="NAME", help=about)


def _whole(minimum: int, about: str) -> Any:
    return typer.Option(metavar="N", parser=whole_number(minimum), help=about)


def finetune(
    interactions: Annotated[Path, _file("CSV: user, item.")],
    items: Annotated[Path, _file("CSV: id, title, anything else.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the trained encoder goes.")],
    encoder: Annotated[str, _name("minilm, e5, smollm2 or a folder (default: minilm).")] = "minilm",
    train: Annotated[str, _name("layers, full, lora or 'last 2' (default: layers).")] = "layers",
    loss: Annotated[str, _name("distilled (from EASE), contrastive, both (default: distilled).")] = LOSSES[0],
    epochs: Annotated[int, _whole(1, "At most (default: 8).")] = 8,
    block: Annotated[int, _whole(2, "Items a step (default: 64).")] = 64,
    rate: Annotated[
        float | None, typer.Option(metavar="X", help="Learning rate (default: 1e-4, lora 1e-3).")
    ] = None,
    seed: Annotated[int, _whole(0, "Of batches and adapters (default: 0).")] = 0,
) -> int:
    """Train an encoder on your interactions; a killed run goes on when it is started again.

    A fifth of the items is held out to decide when training ends. The folder is read by
    encoders.load, by --encoder of other commands, and by sentence-transformers.

    Example: python -m recsys_lib finetune --interactions sales.csv --items products.csv --out encoder
    """
    choose(loss, LOSSES, "loss")
    if rate is not None and not 0 < rate < 1:
        raise InputError(f"--rate {rate!r}: expected more than 0 and less than 1")
    for name, path in (("interactions", interactions), ("items", items)):
        if not path.expanduser().is_file():
            raise InputError(f"--{name} {path}: no such file")
    from recsys_lib.data import datasets
    from recsys_lib.experiments.training.catalogue import fine_tune
    from recsys_lib.experiments.training.variants import Variant

    data = datasets.from_csv(interactions.expanduser(), items.expanduser())
    learning_rate = rate if rate is not None else 1e-3 if train == "lora" else 1e-4
    variant = Variant(loss, train, learning_rate, block, epochs, encoder=encoder)
    done = fine_tune(data, out, variant, seed, _report)
    for note in data.notes:
        print(note)
    print(f"NDCG@10 of held-out items by a map from the vectors: {done.before:.4f} before training,")
    print(f"{done.after:.4f} after {done.steps} steps, the best of {done.validations} validations")
    if done.truncated:
        print(f"{done.truncated:.1%} of the texts are longer than the encoder reads: truncated")
    print(done.folder)
    return 0


def _report(trainer: Trainer) -> None:
    """Each validation on stderr, as it is made."""
    at, value = trainer.progress.validated[-1]
    if at == trainer.step_number:
        line = f"step {at} of {trainer.settings.steps}: NDCG@10 of held-out items {value:.4f}"
        print(line, file=sys.stderr, flush=True)
