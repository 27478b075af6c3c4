"""Smaller and faster language models judged by what they recommend: bits, layers, heads, neurons, words, and
where rounding hurts.

Every change is judged alike (``Judge``): the cosine of each film's vector to that of the unchanged model, and
NDCG@10 of profiles made of the new vectors. Weights keep their arithmetic here and only their values are
rounded; what is really faster is timed by ``speed``.
"""

from recsys_lib.experiments.model_compression.bits import decoder_bits, encoder_bits, input_products
from recsys_lib.experiments.model_compression.evaluate import Judge, run_model
from recsys_lib.experiments.model_compression.layers import activations, int8_ladder, outlying, sensitivity
from recsys_lib.experiments.model_compression.parts import (
    n_bytes,
    parts_quality,
    without_heads,
    without_layers,
    without_neurons,
    without_words,
)
from recsys_lib.experiments.model_compression.speed import footprint, instruction_speeds, parts_speed, speeds

__all__ = [
    "Judge", "activations", "decoder_bits", "encoder_bits", "footprint", "input_products",
    "instruction_speeds", "int8_ladder", "n_bytes",
    "outlying", "parts_quality", "parts_speed", "run_model", "sensitivity", "speeds", "without_heads",
    "without_layers", "without_neurons",
    "without_words",
]  # fmt: skip
