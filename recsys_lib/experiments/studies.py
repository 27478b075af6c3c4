"""The recorded studies as data: which sweeps make ``data/measurements/<name>-study.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sweep:
    """One sweep, in the words of the command line: ``axes`` as ``NAME=V1,V2``,
    ``fixed`` parameters as texts.
    """

    notebook: str
    axes: tuple[str, ...]
    fixed: Mapping[str, str]


def _sweep(notebook: str, axes: tuple[str, ...], **fixed: Any) -> Sweep:
    return Sweep(notebook, axes, {name: json.dumps(value) for name, value in fixed.items()})


BOOK_ENCODERS = ["labels", "tfidf", "wordllama", "minilm", "e5", "smollm2"]
FILM_ENCODERS = [*BOOK_ENCODERS, "smollm2 echo"]
MODELS = ["wordllama", "minilm", "e5", "smollm2"]
# What notebook 09 leaves out by default: most pruned models and most of the text that perplexity is
# taken on.
WHOLE_GRID: dict[str, Any] = {
    "decoder_tokens": 2048,
    "pruning": {"kept": [0.83, 0.75, 0.5], "numbers": [256, 64]},
}
ROUNDED: dict[str, Any] = {
    "bits": [8, 7, 6, 5, 4, 3, 2],
    "methods": ["nearest", "nearest, per channel", "GPTQ"],
    **WHOLE_GRID,
}
PATHS = [
    "torch float32",
    "torch bfloat16",
    "torch int8",
    "native float32",
    "native bfloat16",
    "native int8",
    "compile float32",
    "openvino float32",
    "openvino bfloat16",
    "openvino int8",
    "torchao int8-weight",
    "torchao int4-weight",
    "onnxruntime float32",
    "onnxruntime int8",
]


def _films(split: str, trials: int, seeds: int) -> Sweep:
    axes = (f"protocol=ml-100k {split}",)
    return _sweep("04", axes, trials=trials, seeds=seeds, compared=FILM_ENCODERS, left_out=[])


# Studies that are no sweep of a notebook: a module with ``run()``, which writes
# ``data/measurements/<name>-study.json``.
PROGRAMS = {
    "rerank": "recsys_lib.experiments.reranking.reranking_study",
    "histories": "recsys_lib.experiments.histories_study",
    "generation": "recsys_lib.experiments.generation_study",
    "catalogues": "recsys_lib.experiments.catalogues.catalogues_study",
    "training": "recsys_lib.experiments.training.training_study",
    "multimodal": "recsys_lib.experiments.multimodal.multimodal_study",
    "deployment-quality": "recsys_lib.experiments.deployment_quality",
    "privacy": "recsys_lib.experiments.privacy_study",
    "reranker-reasons": "recsys_lib.experiments.reranker_reasons_study",
    "distributed": "recsys_lib.distributed.distribution_study",
}

# Sections 2 and 3 of notebook 05: a study of each number of interactions tunes every method anew.
FEW: dict[str, Any] = {"few_trials": 4, "few_seeds": 1, "kept": [0, 2, 8, 32]}

STUDIES: dict[str, tuple[Sweep, ...]] = {
    # The most decisive first; the sizes fit a night on two cores.
    "cold": (
        _sweep("05", ("protocol=ml-100k random",), models=MODELS, **FEW, trials=6, seeds=3, moments=3),
        _sweep(
            "05",
            ("protocol=book-crossing random",),
            **FEW | {"kept": [0, 2, 8, 16]},
            trials=6,
            seeds=3,
            at_least=26,
        ),
    ),
    "ranking": (
        _films("random", trials=12, seeds=5),
        _films("temporal", trials=8, seeds=5),
        _films("leave-one-out", trials=8, seeds=1),
        _sweep(
            "04",
            ("protocol=book-crossing random",),
            trials=8,
            seeds=3,
            compared=BOOK_ENCODERS,
            left_out=["SLIM", "text MLP"],
        ),
    ),
    "explanations": (
        _sweep("12", ("protocol=ml-100k random,book-crossing random",), n_users=48, n_rationales=40),
    ),
    "search": (_sweep("08", ("sizes=[1682,36055,269862],[1000000]",), largest_graph=1_000_000),),
    "quantization": (
        _sweep("08", ("dataset=ml-100k,book-crossing", "encoder=minilm,e5,wordllama"), sizes=[]),
    ),
    "cold-bits": (
        _sweep("08", ("dataset=ml-100k",), cold_draws=5, sizes=[]),
        _sweep("08", ("dataset=book-crossing",), cold_draws=3, cold_map="linear", sizes=[]),
    ),
    "model-quantization": (
        _sweep(
            "09",
            ("encoder=minilm", "paths=[]"),
            **ROUNDED,
            decoder_bits=[8, 6, 5, 4, 3, 2],
            decoder_methods=["nearest", "GPTQ"],
            sampled={"layers": [], "ladders": ["minilm", "smollm2"], "texts": 96},
        ),
        _sweep(
            "09",
            ("encoder=e5", "paths=[]"),
            **ROUNDED,
            decoder_bits=[],
            sampled={"layers": [], "ladders": ["e5"], "texts": 96},
        ),
        _sweep(
            "09",
            ("encoder=minilm", f"paths={json.dumps(PATHS)}"),
            **WHOLE_GRID,
            bits=[8],
            methods=["nearest"],
            decoder_bits=[],
            shapes={"tokens": [8, 32, 128], "texts": [1, 8, 64]},
            weighed=PATHS,
        ),
    ),
}
