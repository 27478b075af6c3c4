"""The recorded study of training: encoders trained on interactions, where the time and the memory go, yes-no
answers, and rankers taught by EASE.

``run`` does the parts that ``data/measurements/training-study.json`` lacks, the most decisive first, and
writes the record after each. A run that was killed goes on within a part, from the state of its training.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recsys_lib.core import paths
from recsys_lib.evaluation import splits, tuning
from recsys_lib.evaluation.protocols import dataset_of, split_of
from recsys_lib.evaluation.tuning import Task
from recsys_lib.experiments.notebook_record import resume
from recsys_lib.experiments.study.item_texts import encode, load_encoder
from recsys_lib.experiments.training import answers, students, trained_quality, variants, work
from recsys_lib.experiments.training.variants import Variant
from recsys_lib.llm.finetune.trainer import Trainer

RECORD = "training-study"
NOTEBOOK = "07_training"
FILMS, BOOKS = "ml-100k random", "book-crossing random"
FROZEN, MLP = "frozen", "text MLP"
VARIANTS = {
    "distilled": Variant(),
    "contrastive": Variant("contrastive", block=128),
    "distilled and contrastive": Variant("both", block=128),
    "distilled, LoRA": Variant(trained="lora", learning_rate=1e-3),
    "distilled, last 2 layers": Variant(trained="last 2"),
    "distilled, all weights": Variant(trained="full"),
}
# Rankers taught by EASE, and their draws of cold films.
STUDENTS = (("cross-encoder", 0), ("decoder", 0), ("cross-encoder", 1), ("cross-encoder", 2))
# On books, of which there are three times as many: fewer epochs, and no kernel map.
BOOK_VARIANTS = {"distilled": Variant(block=128, epochs=4)}


@dataclass(frozen=True)
class Part:
    """One entry of the record: which task, which encoder, which draw."""

    task: str
    name: str
    seed: int = 0

    @property
    def label(self) -> str:
        return f"{self.task}, {self.name}, {self.seed}"


def parts() -> list[Part]:
    """All parts, the most decisive first."""
    main = [Part("cold", name, seed) for seed in range(6) for name in (FROZEN, "distilled")]
    ablations = [
        Part("cold", "contrastive"),
        Part("warm", FROZEN),
        Part("warm", "distilled"),
        Part("cold", "contrastive", 1),
        Part("cold", "contrastive", 2),
        Part("cold", "distilled, LoRA"),
        *(Part("yes-no rate", f"{rate:g}") for rate in answers.RATES),
        *(Part("yes-no", str(n)) for n in (0, *answers.PASSES)),
        *(Part("student", name, seed) for name, seed in STUDENTS),
        Part("cold", MLP),
        Part("cold", "distilled, last 2 layers"),
        Part("cold books", FROZEN),
        Part("cold books", "distilled"),
        Part("cold", "distilled and contrastive"),
        Part("cold", MLP, 1),
        Part("cold", MLP, 2),
        Part("cold", "distilled, all weights"),
        Part("warm", MLP),
        Part("work", "times"),
        Part("work", "memory"),  # last: it changes how this process allocates
    ]
    return [*main, *ablations]


def protocol_of(part: Part) -> str:
    """Whose data a part is about."""
    return BOOKS if part.task == "cold books" else FILMS


def variant_of(part: Part) -> Variant | None:
    """How a part's encoder is trained; None where it is not."""
    return (BOOK_VARIANTS if part.task == "cold books" else VARIANTS).get(part.name)


def task_of(part: Part) -> Task:
    """The task of a part: cold items, a random fifth as in notebook 05, tuned on warm items made cold in
    turn; or all items of the split of notebook 04.
    """
    if part.task == "warm":
        return tuning.warm_task(split_of(FILMS, part.seed))
    split = splits.cold_item_split(dataset_of(protocol_of(part)), 0.2, part.seed)
    return tuning.cold_task(split, part.seed)


def measure(part: Part) -> dict[str, Any]:
    """Metrics of one part."""
    if part.task == "work":
        return work.times() if part.name == "times" else work.memories()
    if part.task == "student":
        return students.measure(part.name, part.seed)
    if part.task == "yes-no rate":
        return answers.validated(float(part.name), part.seed)
    if part.task == "yes-no":
        return answers.auc(int(part.name), part.seed)
    items, task, variant = dataset_of(protocol_of(part)), task_of(part), variant_of(part)
    if variant is None:
        vectors, course = encode(items, "minilm"), {}
        encoder = load_encoder("minilm", precision="float32")
        topics = trained_quality.sentences(lambda texts: encoder.encode(texts, progress=False))
    else:
        state = variants.state_folder(part.label)
        done = variants.train_variant(items.item_texts(), task, variant, part.seed, state, _report)
        vectors, topics = done.vectors, trained_quality.sentences(done.model.encode)
        trained_weights = sum(p.numel() for p in done.model.parameters().values())
        course = done.course() | {"trained_weights": trained_weights}
    return _ranked(part, task, vectors) | {"topics": topics} | course


def _report(trainer: Trainer) -> None:
    """Each validation, as it is made."""
    at, value = trainer.progress.validated[-1]
    if at == trainer.step_number:
        print(f"step {at} of {trainer.settings.steps}: validation {value:.4f}", flush=True)


def _ranked(part: Part, task: Task, vectors: Any) -> dict[str, Any]:
    if part.name == MLP:
        return trained_quality.metrics_of(trained_quality.mlp_outcomes(vectors, task, part.seed))
    if part.task != "warm":
        kernel = part.task == "cold"
        return trained_quality.metrics_of(
            trained_quality.cold_outcomes(vectors, task, part.seed, kernel=kernel)
        )
    outcomes = trained_quality.warm_outcomes(vectors, task, part.seed)
    few = trained_quality.few_interactions(outcomes, task, part.seed)
    shortened = {n: {name: trained_quality.per_user(e) for name, e in own.items()} for n, own in few.items()}
    return trained_quality.metrics_of(outcomes) | {"few": shortened}


def run(
    path: Path | None = None,
    chosen: list[Part] | None = None,
    measured: Callable[[Part], dict[str, Any]] = measure,
) -> Path:
    """Do the parts that the record lacks, and write it after each."""
    wanted = {part.label: part for part in (parts() if chosen is None else chosen)}
    cases = [{"part": label, **asdict(part), "variant": _settings(part)} for label, part in wanted.items()]

    def measure_and_tidy(case: Mapping[str, Any]) -> dict[str, Any]:
        metrics = measured(wanted[case["part"]])
        shutil.rmtree(variants.state_folder(case["part"]), ignore_errors=True)
        return metrics

    return resume(path or paths.MEASUREMENTS / f"{RECORD}.json", NOTEBOOK, cases, measure_and_tidy)


def _settings(part: Part) -> dict[str, Any]:
    variant = variant_of(part)
    return asdict(variant) if variant else {}
