"""What the READMEs carry from tables and records: the answer and the ledger, in two languages, each between
two marks.

``write`` renews them (``run --in-place`` does), and a test compares.
"""

from __future__ import annotations

from recsys_lib.core.errors import InputError
from recsys_lib.core.files import write_atomically
from recsys_lib.core.paths import ROOT
from recsys_lib.cost import measured_quality
from recsys_lib.cost.deployments import Deployment, deployments
from recsys_lib.cost.options import OPTIONS
from recsys_lib.cost.recorded_fractions import default_assumptions
from recsys_lib.cost.services import services
from recsys_lib.cost.turning_points import net_usd_by_method
from recsys_lib.cost.units import two_digits
from recsys_lib.reporting import claims as ledger

FILES = {"en": ROOT / "README.md", "zh": ROOT / "README.zh-CN.md"}
BLOCKS = ("answer", "ledger")
SHOWN = (
    "popularity",
    "ItemKNN",
    "EASE top 200",
    "EASE + TF-IDF map",
    "EASE + MiniLM map",
    "8B LLM reranks, logits",
)
# Dollars that 0.01 NDCG@10 is worth per million lists: the best option of each service is bold at this value.
USD_PER_POINT = 10.0
HEADS = {
    "en": ("deployment option", "warm items", "cold items", "shop", "social feed", "streaming"),
    "zh": ("部署方案", "已有交互的物品", "冷启动物品", "商店", "社交信息流", "流媒体"),
}
UNKNOWN = {"en": "not measured", "zh": "未测"}
BROKEN = {"en": "breaks the latency limit", "zh": "超出延迟上限"}


def answer(language: str = "en") -> str:
    """NDCG@10 and dollars a month of the options that matter, for the three services; the best of each
    service is bold.
    """
    methods, a = measured_quality.recorded_methods(), default_assumptions()
    placed, best = {}, {}
    for name, one in services().items():
        placed[name] = {d.name: d for d in deployments(one, a)}
        net = net_usd_by_method(methods, one, a, USD_PER_POINT)
        best[name] = max(net, key=net.__getitem__)
    shown = [*dict.fromkeys([*SHOWN, *best.values()])]
    lines = [f"| {' | '.join(HEADS[language])} |", "|---|---|---|---:|---:|---:|"]
    for option in sorted(shown, key=[o.name for o in OPTIONS].index):
        quality = [
            UNKNOWN[language] if value is None else f"{value:.3f}"
            for value in (methods[option].warm, methods[option].cold)
        ]
        bills = [_bill(placed[name][option], best[name] == option, language) for name in placed]
        lines.append(f"| {' | '.join([option, *quality, *bills])} |")
    return "\n".join(lines)


def _bill(one: Deployment, is_best: bool, language: str) -> str:
    text = f"{'≥ ' if one.basis == 'bound' else ''}${two_digits(one.usd_per_month)}"
    if one.problem:
        return f"{text}, {BROKEN[language]}"
    return f"**{text}**" if is_best else text


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
                f"{FILES[language].name}: expected the marks {begin} and {end} around the {block}"
            )
        text = f"{before}{begin}\n\n{table}\n\n{end}{after}"
    return text


def write() -> None:
    """Renew both READMEs."""
    for language, path in FILES.items():
        write_atomically(path, renewed(path.read_text(encoding="utf-8"), language))
