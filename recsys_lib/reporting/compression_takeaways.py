"""The takeaways of notebook 09, from the recorded study of smaller models and the record of the encoder's
baselines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recsys_lib.reporting.compression_findings import min_bits, part_rows
from recsys_lib.reporting.model_study import ModelStudy
from recsys_lib.reporting.takeaways_00_to_03 import bullets

if TYPE_CHECKING:
    import pandas as pd


def takeaways(study: ModelStudy, bench: pd.DataFrame, encoder: str = "minilm") -> str:
    """The takeaways as a list of Markdown, every number from ``study`` or ``bench`` (rows of ``bench
    encode``).
    """
    lines = [
        _bits(study, encoder),
        _eight_bits(study),
        _places(study, encoder),
        _scales(study, encoder),
        _instructions(study),
        _weights_alone(study),
        _baselines(bench),
        _parts(study),
        _cosine(study),
    ]
    return bullets(lines)


def _bits(study: ModelStudy, encoder: str) -> str:
    table, decoder, name = study.encoders[encoder], study.decoder, study.parameters["decoder"]
    fewest, decoders = min_bits(table, "nearest"), min_bits(decoder, "nearest")
    return (
        f"**Bits.** {encoder} in groups of {study.parameters['groups'][0]} keeps its ranking "
        f"down to {fewest} bits (NDCG@10 {table.loc[('nearest', fewest), 'ndcg']:.3f} of "
        f"{table['ndcg'].iloc[0]:.3f}), with GPTQ to {min_bits(table, 'GPTQ')}; {name} down to {decoders} "
        f"(perplexity {decoder.loc[('nearest', decoders), 'perplexity']:.1f} of "
        f"{decoder['perplexity'].iloc[0]:.1f}), with GPTQ to {min_bits(decoder, 'GPTQ')}."
    )


def _eight_bits(study: ModelStudy) -> str:
    tables = {**study.encoders, study.parameters["decoder"]: study.decoder}
    kept = [t.xs(8, level="bits")["ndcg"].min() / t["ndcg"].iloc[0] for t in tables.values()]
    worse = [name for name, t in tables.items() if (t.xs(8, level="bits")["high"] < 0).any()]
    lost = f"worse beyond chance: {', '.join(worse)}" if worse else "none is worse beyond chance"
    return f"**Eight bits** of the weights keep at least {min(kept):.1%} of NDCG@10 in each model; {lost}."


def _places(study: ModelStudy, encoder: str) -> str:
    lost = study.lost[encoder].sum().sort_values(ascending=False)
    loudest = study.outlying[study.parameters["decoder"]].max().max()
    broken = min_bits(study.encoders[encoder], "nearest, per channel")
    return (
        f"**Where it hurts.** *{lost.index[0]}* and *{lost.index[1]}* most; *{lost.index[-1]}* and "
        f"*{lost.index[-2]}* least. Outlying weights break scales per channel below {broken} bits, outlying "
        f"activations ({loudest:,.0f} times the median in {study.parameters['decoder']}) scales per batch. "
        "Finer groups help against the first, smoothing or a scale per token against the second."
    )


def _scales(study: ModelStudy, encoder: str) -> str:
    error = 1 - study.ladders[encoder]["mean"]
    return (
        "**A scale per token and an offset** bring the error of 8-bit weights and activations from "
        f"{error.iloc[0]:.2g} to {error.iloc[-1]:.1g} (1 - cosine, {encoder}), without calibration."
    )


def _instructions(study: ModelStudy) -> str:
    gain = study.processors["int8"] / study.processors["float32"]
    each = ", ".join(f"{value:.1f} times with {name}" for name, value in gain.items())
    return f"**Speed** is a matter of instructions. int8 over float32: {each} (recorded on {study.machine})."


def _weights_alone(study: ModelStudy) -> str:
    alone = study.weight_only(study.speed_ratios())
    slower = int((alone < 1).to_numpy().sum())
    return f"**Weights alone in fewer bits** make an encoder slower in {slower} of {alone.size} cells."


def _baselines(bench: pd.DataFrame) -> str:
    first = bench[(bench["workload"] == "encode") & (bench["baseline"] == "sentence-transformers")]
    each = ", ".join(
        f"{row['ratio']:.2g} times in {row['size'].split(', ')[1]}"
        for _, row in first.iterrows()
        if "static" not in row["size"]
    )
    return f"**Over sentence-transformers** the native path encodes a catalogue {each}."


def _parts(study: ModelStudy) -> str:
    rows = part_rows(study)
    whole = rows["whole"]
    return (
        f"**Pruning costs more than rounding.** {rows['half'].name} lose "
        f"{1 - rows['half']['ndcg'] / whole['ndcg']:.0%} of NDCG, and the whole model in int8 is "
        f"{rows['int8']['texts per s'] / rows['half']['texts per s']:.1f} times as fast. A static table "
        f"keeps {rows['even']['ndcg'] / whole['ndcg']:.0%} at "
        f"{rows['even']['texts per s'] / whole['texts per s']:.0f} times the speed of the whole model."
    )


def _cosine(study: ModelStudy) -> str:
    rows = part_rows(study)
    said = {key: "worse" if rows[key]["high"] < 0 else "not worse" for key in ("heads", "layer")}
    return (
        f"**A cosine to the old vectors does not evaluate a new space**: it is "
        f"{rows['heads']['cosine']:.2f} with {rows['heads'].name}, whose ranking is {said['heads']} beyond "
        f"chance, and {rows['layer']['cosine']:.2f} with {rows['layer'].name}, whose ranking is "
        f"{said['layer']}."
    )
