"""What the READMEs carry from tables and records: the answer and the ledger, in two languages, each between
two marks.

``write`` renews them (``run --in-place`` does), and a test compares.
"""

from __future__ import annotations

from recsys_lib.core.errors import InputError
from recsys_lib.core.files import write_atomically
from recsys_lib.core.paths import ROOT
from recsys_lib.cost import decision, deployments, roofline_fractions
from recsys_lib.cost.decision import Choice
from recsys_lib.reporting import claims as ledger

FILES = {"en": ROOT / "README.md", "zh": ROOT / "README.zh-CN.md"}
BLOCKS = ("answer", "ledger")
SHOWN = (
    "popularity", "ItemKNN", "EASE", "MiniLM", "ItemKNN + MiniLM", "EASE + counted words", "EASE + MiniLM",
    "EASE + 8B encoder",
    "ItemKNN + MiniLM, LLM reranks",
)  # fmt: skip
HEADS = {
    "en": ("way to recommend", "known items", "new items", "shop", "social feed", "streaming"),
    "zh": ("推荐方案", "已有交互的物品", "新物品", "商店", "社交信息流", "流媒体"),
}
UNKNOWN = {"en": "not measured", "zh": "未测"}
TOO_SLOW = {"en": "too slow", "zh": "太慢"}
TOO_LONG = {"en": "no fit in time", "zh": "来不及训练"}


def answer(language: str = "en") -> str:
    """NDCG@10 and dollars a month of the ways that matter, for the three scenarios;
    the cheapest that reaches both targets is bold.
    """
    cases = decision.scenarios()
    assumed = deployments.Assumptions(shares=roofline_fractions.recorded_shares())
    decided = {name: decision.decide(case, assumed) for name, case in cases.items()}
    best = {
        name: decision.cheapest_reaching(decided[name], case.seen, case.new) for name, case in cases.items()
    }
    lines = [f"| {' | '.join(HEADS[language])} |", "|---|---|---|---:|---:|---:|"]
    for way in SHOWN:
        choices = {name: next(c for c in found if c.name == way) for name, found in decided.items()}
        first = next(iter(choices.values()))
        quality = [
            UNKNOWN[language] if q.value is None else f"{q.value:.3f}".lstrip("0")
            for q in (first.seen, first.new)
        ]
        bills = [_bill(choice, best[name], language) for name, choice in choices.items()]
        lines.append(f"| {' | '.join([way, *quality, *bills])} |")
    return "\n".join(lines)


def _bill(choice: Choice, best: Choice | None, language: str) -> str:
    text = f"${choice.usd_per_month.value:,.0f}"
    if choice.problem:
        return f"{text}, {(TOO_SLOW if 'answers' in choice.problem else TOO_LONG)[language]}"
    return f"**{text}**" if best and choice.name == best.name else text


def marks(block: str) -> tuple[str, str]:
    """Where a block begins and ends."""
    return f"<!-- {block}: written by run --in-place -->", f"<!-- end of {block} -->"


def renewed(text: str, language: str) -> str:
    """The README's text with every block anew.

    Raises:
        InputError: a mark is missing.
    """
    for block, table in zip(BLOCKS, (answer(language), ledger.table(language)), strict=True):
        begin, end = marks(block)
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise InputError(
                f"{FILES[language].name}: expected the marks {begin} and {end}, between which the {block} "
                f"goes"
            )
        text = f"{before}{begin}\n\n{table}\n\n{end}{after}"
    return text


def write() -> None:
    """Renew both READMEs."""
    for language, path in FILES.items():
        write_atomically(path, renewed(path.read_text(encoding="utf-8"), language))
