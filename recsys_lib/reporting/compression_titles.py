"""Titles of the figures on smaller vectors and models, with the numbers of the tables that are drawn."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

# The finest scales of the ladder of activations, with smoothing and without.
SMOOTHED = "per output, smoothed α=0.75 | one per batch"


def share_of_words(words: Mapping[str, int], whole: Mapping[str, int], decoder: str) -> str:
    """Which fraction of e5's and the decoder's bytes are word vectors; both maps in bytes by model."""
    e5, other = (words[name] / whole[name] for name in ("e5", decoder))
    return f"Of e5 {e5:.0%} are words, of {decoder} {other:.0%}"


def resident(held: pd.DataFrame) -> str:
    """The paths that take the least and the most memory; ``held`` has a column ``resident_MB``."""
    mb = held["resident_MB"]
    return f"In memory {mb.idxmin()} takes {mb.min():.0f} MB, {mb.idxmax()} {mb.max():.0f}"


def at_four_bits(name: str, table: pd.DataFrame, column: str, group: int) -> str:
    """What 4 bits cost an encoder; ``table`` by method and bits, ``column`` "cosine" or "ndcg"."""
    even, channel, best = (
        table.loc[(method, 4), column] for method in ("nearest", "nearest, per channel", "GPTQ")
    )
    if column == "cosine":
        said = f"cosine {even:.3f} in groups of {group}, {best:.3f} by GPTQ"
    else:
        unchanged = table["ndcg"].iloc[0]
        said = f"NDCG {even:.3f} in groups, {channel:.3f} per channel, {unchanged:.3f} unchanged"
    return f"{name} at 4 bits: {said}"


def most_lost(encoder: str, lost: pd.DataFrame) -> str:
    """The place whose rounding to 2 bits moves the vectors most; ``lost`` by layer and place."""
    return f"{encoder}: {lost.sum().idxmax()} in 2 bits hurts most (1 - cosine, thousandths)"


def loudest_channel(encoder: str, outlying: pd.DataFrame) -> str:
    """How far the loudest channel stands out, and where; ``outlying`` by layer and place."""
    largest, place = outlying.max().max(), outlying.stack().idxmax()[1]
    return f"{encoder}: the loudest channel is up to {largest:.0f} times the median ({place})"


def loudest_of_decoder(decoder: str, outlying: pd.DataFrame) -> str:
    """The same for the decoder, in short."""
    return f"{decoder}: up to {outlying.max().max():,.0f} times ({outlying.stack().idxmax()[1]})"


def smoothing_of_encoder(steps: pd.DataFrame) -> str:
    """What smoothing and a scale per token gain MiniLM; ``steps`` by rung, with a column ``mean``."""
    gain = 1 - steps["mean"]
    smoothed, per_token = gain.iloc[1] / gain[SMOOTHED], gain.iloc[1] / gain.iloc[4]
    return f"MiniLM: smoothing changes little (÷{smoothed:.1f}), a scale per token helps (÷{per_token:.0f})"


def smoothing_of_decoder(decoder: str, steps: pd.DataFrame) -> str:
    """What smoothing gains the decoder."""
    gain = 1 - steps["mean"]
    return f"{decoder}: smoothing helps (÷{gain.iloc[1] / gain[SMOOTHED]:.0f})"


def perplexity(table: pd.DataFrame) -> str:
    """Perplexity of the decoder with fewer bits; ``table`` by method and bits."""
    kept, by = table["perplexity"].iloc[0], table["perplexity"]
    return (
        f"Perplexity {kept:.1f} as it came, {by[('nearest', 4)]:.1f} at 4 bits, {by[('GPTQ', 4)]:.1f} by GPTQ"
    )


def neighbours(table: pd.DataFrame) -> str:
    """How many nearest films stay when the decoder has fewer bits."""
    by = table["neighbours"]
    return f"{by[('nearest', 8)]:.0%} of the neighbours stay at 8 bits, {by[('nearest', 4)]:.0%} at 4"


def ndcg_of_decoder(table: pd.DataFrame) -> str:
    """What fewer bits of the decoder cost the ranking."""
    by = table["ndcg"]
    return f"NDCG {by.iloc[0]:.3f}, {by[('nearest', 6)]:.3f} at 6 bits, {by[('nearest', 4)]:.3f} at 4"


def half_of_layers(pruned: pd.DataFrame) -> str:
    """The row whose model keeps the first half of its layers.

    >>> half_of_layers(pd.DataFrame(index=["whole", "4 layers of 6", "3 layers of 6"]))
    '3 layers of 6'
    """
    counts = {name: name.split(" layers of ") for name in pruned.index if name[0].isdigit()}
    return next(n for n, c in counts.items() if len(c) == 2 and 2 * int(c[0]) == int(c[1]))


def parts(pruned: pd.DataFrame) -> str:
    """A static table beside half of the layers, each as a fraction of the whole model's NDCG@10."""
    whole, table = pruned.loc["whole", "ndcg"], next(n for n in pruned.index if n.startswith("static"))
    kept, half = pruned.loc[table, "ndcg"] / whole, pruned.loc[half_of_layers(pruned), "ndcg"] / whole
    return (
        f"A static table keeps {kept:.0%} of NDCG, half the layers {half:.0%} (orange: worse beyond chance)"
    )


def speed_of_parts(pruned: pd.DataFrame) -> str:
    """Whether the whole model in int8 is faster than every pruned one; ``pruned`` with ``texts per s``."""
    rates = pruned["texts per s"]
    static = [name for name in pruned.index if name.startswith("static")]
    others = rates.drop([name for name in pruned.index if name.startswith(("whole", "static"))])
    faster = "faster than any pruning" if rates["whole, int8"] > others.max() else "not the fastest"
    return (
        f"Eight bits are {faster} ({rates['whole, int8'] / rates['whole']:.1f} times the whole); "
        f"a table is {rates[static].max() / rates['whole']:.0f} times as fast"
    )


def native_speed(ratios: pd.DataFrame) -> str:
    """Native int8 beside eager float32, and the path that is slower most often; ``ratios`` by path."""
    slow, ours = (ratios < 1).sum(axis=1), ratios.loc["native int8"]
    return (
        f"native int8 is {ours.min():.0f} to {ours.max():.0f} times as fast as eager float32; "
        f"{slow.idxmax()} is slower in {slow.max()} of {ratios.shape[1]} cells"
    )


def int8_by_processor(found: pd.DataFrame) -> str:
    """What int8 gains over float32 with each instruction set; ``found`` by name, in texts per second."""
    gain = found["int8"] / found["float32"]
    return (
        f"int8 over float32: {gain.iloc[0]:.1f} times with {gain.index[0]}, {gain.iloc[1]:.1f} with "
        f"{gain.index[1]}, {gain.iloc[-1]:.1f} with {gain.index[-1]}"
    )


def fewest_kept(least: pd.Series) -> str:
    """The smallest fraction of warm NDCG@10 that 4 bits and one bit of a number keep; ``least`` by scheme."""
    four, sign = least["int4"], least["binary"]
    return f"4 bits keep at least {four:.0%} of warm NDCG, the sign (star) {sign:.0%}"
