"""What the recorded study of smaller models found, in sentences made of its numbers (notebook 09)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from recsys_lib.reporting import compression_titles
from recsys_lib.reporting.model_study import ModelStudy
from recsys_lib.reporting.takeaways_00_to_03 import bullets

if TYPE_CHECKING:
    import pandas as pd

CHANNEL = "nearest, per channel"
# A loss of NDCG counts from here on, where it is also beyond chance: of twenty rows one is so by chance.
SMALL_LOSS = 0.02


def min_bits(table: pd.DataFrame, method: str) -> int:
    """The fewest bits with which ``method`` keeps the ranking, as it does with all more bits: NDCG is not
    both worse beyond chance and lower by more than ``SMALL_LOSS``.

    table: by (method, bits), unchanged first, with ``high``, the upper end of the paired difference.

    >>> import pandas as pd
    >>> rows = pd.MultiIndex.from_tuples([("float32", 32), *(("GPTQ", n) for n in (8, 6, 4, 3, 2))])
    >>> found = {"ndcg": [1, 1, 0.99, 1, 0.9, 0.95], "high": [0, 0.1, -0.001, 0.1, -0.01, 0.01]}
    >>> min_bits(pd.DataFrame(found, index=rows), "GPTQ")
    4
    """
    fewest, enough = 32, (1 - SMALL_LOSS) * table["ndcg"].iloc[0]
    for bits, row in table.loc[method].sort_index(ascending=False).iterrows():
        if row["high"] < 0 and row["ndcg"] < enough:
            break
        fewest = int(bits)
    return fewest


def worse(table: pd.DataFrame) -> str:
    """The rows whose whole interval lies below the unchanged model, as "nearest 3, nearest 2"."""
    rows = [n if isinstance(n, str) else " ".join(map(str, n)) for n in table.index[table["high"] < 0]]
    return "; ".join(rows) or "none"


def encoder_bits(study: ModelStudy) -> str:
    """What fewer bits of the weights cost each encoder."""
    group, lines = study.parameters["groups"][0], []
    for name, table in study.encoders.items():
        whole = table["ndcg"].iloc[0]
        even, channel, best = (table.loc[(m, 4)] for m in ("nearest", CHANNEL, "GPTQ"))
        two = table.loc[("nearest", 2)]
        lines += [
            f"**{name}** keeps its ranking down to {min_bits(table, 'nearest')} bits in "
            f"groups of {group}, {min_bits(table, CHANNEL)} with one scale per channel, "
            f"{min_bits(table, 'GPTQ')} by GPTQ.",
            f"{name} at 4 bits: NDCG@10 {even['ndcg']:.3f} in groups, {channel['ndcg']:.3f} per channel, "
            f"{best['ndcg']:.3f} by GPTQ, {whole:.3f} unchanged; mean cosine {even['cosine']:.3f}, "
            f"{channel['cosine']:.3f} and {best['cosine']:.3f}.",
            f"{name}, worse beyond chance: {worse(table)}.",
            f"{name} at 2 bits in groups: mean cosine {two['cosine']:.2f}, and {two['ndcg'] / whole:.0%} of "
            f"NDCG; by GPTQ {table.loc[('GPTQ', 2), 'ndcg'] / whole:.0%}.",
        ]
    lines.append(
        f"A model that keeps its ranking is not both worse beyond chance and more than {SMALL_LOSS:.0%} "
        "lower in NDCG."
    )
    return bullets(lines)


def layers(study: ModelStudy, encoder: str, heaviest: Mapping[str, float]) -> str:
    """Which linear layers are sensitive to 2 bits, and where channels and weights stand out.

    heaviest: the largest weight of a matrix over its median one, by place.
    """
    lost = study.lost[encoder].sum().sort_values(ascending=False)
    said = ", ".join(f"{place} {1e3 * value:.0f}" for place, value in lost.items())
    lines = [f"**{encoder}** in 2 bits, one layer at a time: thousandths of cosine, summed: {said}."]
    lines += [
        f"{name}: the largest input channel is up to {t.max().max():,.0f} times the median one, in "
        f"{t.max().idxmax()} of layer {t[t.max().idxmax()].idxmax()}."
        for name, t in study.outlying.items()
    ]
    weights = ", ".join(f"{place} {value:.0f}" for place, value in heaviest.items())
    return bullets([*lines, f"{encoder}, layer 0: largest weight over the median one: {weights}."])


def ladders(study: ModelStudy) -> str:
    """What finer scales, smoothing and an offset take off the error of 8-bit weights and activations."""
    lines = []
    for name, table in study.ladders.items():
        error = 1 - table["mean"]
        batch, half, token, offset = (error.iloc[i] for i in (1, 2, 4, 5))
        smoothed = error[compression_titles.SMOOTHED]
        lines.append(
            f"**{name}**: 1 - cosine is {batch:.2g} with one scale per batch, {half:.2g} smoothed with "
            f"α = ½, {smoothed:.2g} with α = ¾, {token:.2g} with a scale per token, {offset:.2g} with an "
            "offset too."
        )
    return bullets(lines)


def decoder_bits(study: ModelStudy, vocabulary: int) -> str:
    """What fewer bits cost the decoder; vocabulary: the perplexity of a guess."""
    table, decoder = study.decoder, study.parameters["decoder"]
    kept = table["perplexity"].iloc[0]
    even = table.loc["nearest", "perplexity"]
    rise = ", ".join(f"{bits} bits {even[bits] / kept - 1:+.0%}" for bits in (8, 6, 5, 4))
    four, best = table.loc[("nearest", 4)], table.loc[("GPTQ", 4)]
    above = [str(bits) for bits, value in even.items() if value > vocabulary]
    return bullets(
        [
            f"**{decoder}**, perplexity over {kept:.1f} as it came: {rise}; by GPTQ at 4 bits "
            f"{best['perplexity']:.1f} instead of {four['perplexity']:.1f}. Above a guess of the "
            f"{vocabulary:,} tokens: {', '.join(above) or 'no number of'} bits.",
            f"Worse than as it came beyond chance, by NDCG: {worse(table)}.",
            f"At 4 bits {four['neighbours']:.0%} of a film's ten nearest stay, at a mean cosine of "
            f"{four['cosine']:.3f}.",
        ]
    )


def part_rows(study: ModelStudy) -> dict[str, pd.Series]:
    """The recorded rows that the text compares: whole, whole in int8, half of the layers, the first row with
    fewer heads, fewer words and a static table of each weighting.
    """
    parts = study.parts
    half = compression_titles.half_of_layers(parts)
    starts = {
        "heads": next(n for n in parts.index if " heads of " in n),
        "words": next(n for n in parts.index if " words of " in n),
        "even": next(n for n in parts.index if n.endswith("even")),
        "by rarity": next(n for n in parts.index if n.endswith("by rarity")),
    }
    named = {"whole": "whole", "int8": "whole, int8", "half": half, "layer": parts.index[1], **starts}
    return {key: parts.loc[name] for key, name in named.items()}


def parts(study: ModelStudy) -> str:
    """What pruning and distillation keep, beside eight bits."""
    rows = part_rows(study)
    whole, rate = rows["whole"]["ndcg"], rows["whole"]["texts per s"]
    kept = {name: row["ndcg"] / whole for name, row in rows.items()}
    faster = {name: row["texts per s"] / rate for name, row in rows.items()}
    within = [n for n, row in study.parts.iterrows() if row["high"] >= 0 and not n.startswith("whole")]
    return bullets(
        [
            f"Not worse than the whole model beyond chance, without training again: {', '.join(within)}.",
            f"The whole model in int8 is {faster['int8'] / faster['half']:.1f} times as fast as "
            f"{rows['half'].name} in float32 and keeps {kept['int8']:.0%} of NDCG; half of the layers "
            f"{kept['half']:.0%}.",
            f"{rows['heads'].name}: mean cosine {rows['heads']['cosine']:.2f}, NDCG {kept['heads']:.0%}. "
            f"{rows['layer'].name}: mean cosine {rows['layer']['cosine']:.2f}, NDCG {kept['layer']:.0%}.",
            f"{rows['words'].name}: {rows['words']['MB'] / rows['whole']['MB']:.0%} of the bytes, "
            f"{kept['words']:.0%} of NDCG, {faster['words']:.2f} times the speed.",
            f"{rows['even'].name}: {kept['even']:.0%} of NDCG at {faster['even']:.0f} times the speed; "
            f"{rows['by rarity'].name}: {kept['by rarity']:.0%}.",
        ]
    )


def _span(ratios: pd.Series | pd.DataFrame) -> str:
    values = ratios.to_numpy()
    return f"{values.min():.1f} to {values.max():.1f}"


def speeds(study: ModelStudy) -> str:
    """Where fewer bits are faster, and where they are slower, over the recorded lengths and batches."""
    ratios = study.speed_ratios()
    weight_only = study.weight_only(ratios)

    def gain(backend: str, precision: str) -> str:
        return _span(ratios.loc[f"{backend} {precision}"] / ratios.loc[f"{backend} float32"])

    eager = ratios.loc["torch int8"]
    ours = ratios.loc["native float32"]
    worst = study.paths.loc[[p for p in study.paths.index if p.endswith("int8")], "worst"].idxmin()
    return bullets(
        [
            f"**int8 over float32 of the same backend**: native {gain('native', 'int8')} times, openvino "
            f"{gain('openvino', 'int8')}, onnxruntime {gain('onnxruntime', 'int8')}, torch {_span(eager)}.",
            f"**bfloat16 over float32**: native {gain('native', 'bfloat16')} times, openvino "
            f"{gain('openvino', 'bfloat16')}.",
            f"**Weights alone in fewer bits** ({', '.join(weight_only.index)}) run at {_span(weight_only)} "
            f"times eager float32, and are slower in {int((weight_only < 1).to_numpy().sum())} of "
            f"{weight_only.size} cells.",
            f"Slower than eager float32 in some cell: {_slower(ratios)}. Native float32 runs at "
            f"{_span(ours)} times eager.",
            f"The vectors of {worst} are the farthest from float32 of all 8-bit activations, by their worst "
            f"cosine. Worse than float32 beyond chance by NDCG: {worse(study.paths)}.",
        ]
    )


def _slower(ratios: pd.DataFrame) -> str:
    counts = (ratios < 1).sum(axis=1)
    return ", ".join(f"{path} ({n})" for path, n in counts[counts > 0].items()) or "none"


def bench(rows: pd.DataFrame) -> str:
    """What ``bench encode`` found: speed over each baseline, and how much of the roofline is reached.

    rows: workload, size, baseline, ratio (their time over ours), fraction_of_limit, quality.
    """
    lines = []
    for (work, size), table in rows.groupby(["workload", "size"], sort=False):
        over = ", ".join(f"{row['ratio']:.1f} times {row['baseline']}" for _, row in table.iterrows())
        share = table["fraction_of_limit"].iloc[0]
        lines.append(f"{work}, {size}: {over} ({share:.0%} of the upper bound).")
    return bullets(lines)
