"""The Takeaways of notebooks 00 to 03: sentences whose numbers, and whose direction, come from what a run
found.

Each function takes the metrics that the notebook records and returns Markdown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def bullets(lines: Sequence[str]) -> str:
    """Lines as a Markdown list.

    >>> bullets(["a", "b"])
    '* a\\n* b'
    """
    return "\n".join(f"* {line}" for line in lines)


def _higher(a: float, b: float, digits: int = 3) -> str:
    """How ``a`` stands to ``b`` at the digits shown.

    >>> _higher(0.0421, 0.0419), _higher(0.0432, 0.0419), _higher(0.01, 0.02)
    ('equal to', 'above', 'below')
    """
    a, b = round(a, digits), round(b, digits)
    return "equal to" if a == b else "above" if a > b else "below"


def article(found: Mapping[str, Any], encoder: str) -> str:
    """Takeaways of notebook 00."""
    first, second = found["cosine_first"], found["cosine_second"]
    moved = "raises" if found["auc_centred"] > found["auc_raw"] else "lowers"
    return bullets(
        [
            "The article's program has four separate mistakes, and its printed number is no float32 value. "
            "Corrected, it "
            f"gives **{first:.3f}** and **{second:.3f}** for its two items with {encoder}.",
            f"The same user scores **{found['cosine_unrelated_to_user']:.2f}** on average against sentences "
            f"on other "
            f"topics; unrelated sentences score **{found['cosine_unrelated']:.2f}** among themselves.",
            f"On that scale 0.95 lies {found['sigmas_of_095']:.1f} standard deviations above unrelated "
            f"pairs. The article "
            'gives no scale, so **its conclusion, "very similar", cannot be drawn from the number**: '
            "with one model "
            "0.87 is the stock market, with another it would be a near copy.",
            f"Centring brings unrelated pairs to {found['cosine_unrelated_centred']:.2f} and {moved} the AUC "
            f"from "
            f"{found['auc_raw']:.2f} to {found['auc_centred']:.2f}. Use ranks, percentiles or centred "
            f"cosines, not a raw "
            "threshold.",
        ]
    )


def cosine(found: Mapping[str, Any], dimension: int, k: int) -> str:
    """Takeaways of notebook 01."""
    kept, slots = found["top_kept"], found["slots_of_longest_tenth"]
    return bullets(
        [
            f"The formula follows from the law of cosines in two lines. The article's example is "
            f"**{found['worked_example_cosine']:.4f}** ({found['worked_example_degrees']:.1f}°), not 0.86.",
            "A cosine ignores length and rotation, not a common shift. On unit vectors cosine, dot product "
            "and Euclidean "
            f"distance rank alike; on vectors of varied length the dot product gave {slots['dot']:.0%} of "
            f"its slots to the "
            f"longest tenth of items, the cosine {slots['cosine']:.0%}.",
            f"By chance a cosine spreads by $1/\\sqrt{{d}}$: {dimension**-0.5:.2f} at {dimension} "
            f"dimensions. With a common "
            f"offset of three times the useful part, every pair scores "
            f"**{found['mean_cosine_at_offset_3']:.1f}**.",
            f"Of the top {k}, float16 kept {kept['float16']:.2%}, bfloat16 {kept['bfloat16']:.2%}, int8 "
            f"{kept['int8']:.2%} "
            "(random vectors, whose neighbours are nearly tied). Sum in float32: summing in float16 erred "
            f"{found['float16_sum_error_ratio']:.0f} times as much.",
            "A matrix product computes cosines hundreds of times as fast as a Python loop over pairs.",
        ]
    )


def embeddings(found: Mapping[str, Any]) -> str:
    """Takeaways of notebook 02."""
    mean, overlap, recall = found["mean_cosine"], found["genre_overlap"], found["recall_of_fields"]
    chance, control = overlap["chance"], overlap["TF-IDF (control)"]
    models = {name: value for name, value in overlap.items() if name not in ("chance", "TF-IDF (control)")}
    low, high, best = min(models.values()), max(models.values()), max(models, key=lambda name: models[name])
    part = (control - chance) / (high - chance)
    rank, auc, table = found["effective_rank"]["smollm2"], found["auc"], found["embedding_table_percent"]
    short, long = recall["title + genres"], recall["title + genres + year"]
    return bullets(
        [
            f"Random film pairs score **{mean['minilm']:.2f}** (MiniLM), **{mean['e5']:.2f}** (e5) and "
            f"**{mean['smollm2']:.2f}** (SmolLM2). Centring brings them to 0, whitening also evens out the "
            f"directions. "
            f"SmolLM2's effective rank is {rank:.0f} of 576: its variance is unevenly spread, which does not "
            f"mean that "
            "the other directions are unused.",
            f"Neighbours by title and year have genres in common that the encoder was not given: overlap "
            f"{low:.3f} to "
            f"{high:.3f}, chance {chance:.3f}. TF-IDF of the same text reaches **{control:.3f}**, {part:.0%} "
            f"of the best "
            f"model's ({best}) gain above chance. Only the rest may be called knowledge.",
            f"The fields of the text matter: the year takes MiniLM's recall@10 from **{short:.3f} to "
            f"{long:.3f}** on the "
            "validation part. That is feature engineering, and in part a trace of popularity.",
            f"Choose the model by language: on Chinese, e5 orders pairs with an AUC of "
            f"**{auc['e5']['Chinese']:.2f}**, "
            f"MiniLM, {found['unknown_chinese_tokens']:.0%} of whose tokens are unknown there, with "
            f"**{auc['minilm']['Chinese']:.2f}**.",
            f"Parameters do not tell the cost: {table['e5']:.0f}% of e5's "
            f"{found['parameters_millions']['e5']:.0f} million "
            "are an embedding table, which is looked up, not multiplied.",
        ]
    )


def ranking(found: Mapping[str, Any], encoder: str, geometry_name: str, k: int) -> str:
    """Takeaways of notebook 03."""
    recall, published, coverage = found["recall"], found["published_recall"], found["coverage_percent"]
    raw, text, words = recall["text, raw"], recall["text, processed"], recall["TF-IDF"]
    names = ("popularity", "ItemKNN", "EASE")
    ours = ", ".join(f"{name} **{recall[name]:.3f}**" for name in names)
    apart = max(abs(recall[name] / published[name] - 1) for name in names)
    novelty = found["novelty_bits"]
    check = f", at most {apart:.1%} from the paper's values" if k == 10 else ""
    return bullets(
        [
            f"Recall@{k}: {ours}{check}.",
            f"The article's recipe, the raw cosine of {encoder}, reaches **{raw:.3f}** "
            f"({raw / recall['random vectors']:.1f} times random vectors, popularity "
            f"{recall['popularity']:.3f}). "
            f"Post-processed ({geometry_name}) it reaches **{text:.3f}**, {text / raw:.1f} times as much.",
            f"TF-IDF of the same text reaches {words:.3f}: {encoder} is {_higher(text, words)} it. The "
            f"published content-only "
            f"value, {published['text-kNN']:.4f}, is of genres alone (ours from genres: "
            f"{recall['genres alone']:.3f}).",
            f"For items with interactions text alone stands {_higher(text, recall['popularity'])} popularity "
            f"and "
            f"{_higher(text, recall['EASE'])} EASE: *semantic understanding by itself "
            f"{'does not raise' if text < recall['popularity'] else 'may raise'} quality on such items.*",
            f"Text brings breadth: its lists cover **{coverage['text, processed']:.0f}%** of the catalogue, "
            f"EASE's "
            f"{coverage['EASE']:.0f}%, at {novelty['text, processed'] - novelty['EASE']:+.1f} bits of "
            f"novelty.",
        ]
    )
