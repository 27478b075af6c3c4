"""How much of a data set a language model has memorized: years of titles, ends of titles, rows of files."""

from __future__ import annotations

from collections.abc import Sequence

from recsys_lib.core.errors import InputError
from recsys_lib.llm.packed_attention import Group
from recsys_lib.llm.prompts import Prompts
from recsys_lib.llm.rerank.listwise import write
from recsys_lib.llm.rerank.reranker import Usage


def completions(prompts: Prompts, beginnings: Sequence[str], max_tokens: int) -> list[str]:
    """Greedy continuations of texts, without an instruction or chat template around them.

    Raises:
        InputError: a beginning of fewer than two tokens.
    """
    model = prompts.model
    ids = [model.begin + i for i in model.texts_to_ids(beginnings)]
    short = next((text for text, i in zip(beginnings, ids, strict=True) if len(i) < 2), None)
    if short is not None:
        raise InputError(f"beginning={short!r}: expected a text of at least two tokens")
    read = model.extend([Group(None, [i[:-1] for i in ids])], keep=True)
    return write(prompts, read.prefixes, [i[-1:] for i in ids], max_tokens, Usage())


def completed(prompts: Prompts, texts: Sequence[tuple[str, str]], max_tokens: int = 12) -> list[bool]:
    """Whether the model continues each beginning with its end, spaces and letter case aside.

    Sainz et al., "NLP Evaluation in Trouble" (2023), and Di Palma et al., "Do LLMs Memorize Recommendation
    Datasets?" (2025), ask for completions of this kind.

    Args:
        texts: pairs of a beginning and the end that follows in the data.
    """
    written = completions(prompts, [beginning for beginning, _ in texts], max_tokens)
    return [
        w.strip().lower().startswith(end.strip().lower()) for w, (_, end) in zip(written, texts, strict=True)
    ]


def year_questions(titles: Sequence[str], years: Sequence[int], examples: int = 4) -> list[tuple[str, str]]:
    """Beginnings that end where a film's year stands, after the first few films as examples, with the
    years."""
    head = "".join(f"{t} ({y})\n" for t, y in zip(titles[:examples], years[:examples], strict=True))
    return [(f"{head}{t} (", f"{y}") for t, y in zip(titles[examples:], years[examples:], strict=True)]


def title_questions(titles: Sequence[str], examples: int = 4) -> list[tuple[str, str]]:
    """The first half of each title's words after the first few titles as examples, with the other half;
    titles of fewer than three words are left out."""
    head = "".join(f"{title}\n" for title in titles[:examples])
    words = [title.split() for title in titles[examples:]]
    halves = [((len(own) + 1) // 2, own) for own in words if len(own) > 2]
    return [(head + " ".join(own[:half]), " ".join(own[half:])) for half, own in halves]


def row_questions(rows: Sequence[str], before: int = 4) -> list[tuple[str, str]]:
    """Beginnings of ``before`` rows of a file, with the row that follows."""
    return [("\n".join(rows[i - before : i]) + "\n", rows[i]) for i in range(before, len(rows))]
