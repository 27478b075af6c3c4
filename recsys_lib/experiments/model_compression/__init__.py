"""Smaller and faster language models evaluated by what they recommend: bits, layers, heads, neurons, words,
and where rounding hurts.

Every change is evaluated alike (``VectorEvaluator``): the cosine of each item's vector to that of the
unchanged model, NDCG@10 of profiles of the new vectors for warm items, and NDCG@10 of cold items by a map
from them. Weights keep their arithmetic here and only their values are rounded; what is really faster is
timed by ``speed``.
"""

from recsys_lib.experiments.model_compression.bits import (
    decoder_bits,
    decoder_bits_on_films,
    encoder_bits,
    input_products,
    plot_windows,
)
from recsys_lib.experiments.model_compression.evaluate import VectorEvaluator, run_model
from recsys_lib.experiments.model_compression.layers import (
    activations,
    int8_ladder,
    largest_weight,
    outlying,
    sensitivity,
)
from recsys_lib.experiments.model_compression.parts import (
    fraction_name,
    n_bytes,
    parts_quality,
    pruned_models,
    static_tables,
    weight_sizes,
    without_heads,
    without_layers,
    without_neurons,
    without_words,
)
from recsys_lib.experiments.model_compression.speed import (
    TimedPaths,
    footprint,
    instruction_speeds,
    parts_speed,
    speeds,
    timed_parts,
    timed_paths,
)

__all__ = [
    "TimedPaths", "VectorEvaluator", "activations", "decoder_bits", "decoder_bits_on_films", "encoder_bits",
    "footprint", "fraction_name", "input_products", "instruction_speeds", "int8_ladder", "largest_weight",
    "n_bytes", "outlying", "parts_quality", "parts_speed", "plot_windows", "pruned_models", "run_model",
    "sensitivity", "speeds", "static_tables", "timed_parts", "timed_paths", "weight_sizes", "without_heads",
    "without_layers", "without_neurons", "without_words",
]  # fmt: skip
