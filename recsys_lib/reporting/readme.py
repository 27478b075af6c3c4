"""What the READMEs and the pages they link to carry from tables and records.

In the READMEs that is the answer and the table of notebooks, in two languages, each between two marks.
``write`` renews all of it (``run --in-place`` does), and a test compares.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping
from pathlib import Path

from recsys_lib.core.errors import InputError
from recsys_lib.core.files import write_atomically
from recsys_lib.core.paths import ROOT, TABLES
from recsys_lib.cost import measured_quality
from recsys_lib.cost.deployment_options import OPTIONS
from recsys_lib.cost.deployments import Deployment, deployments
from recsys_lib.cost.leads import leads_of
from recsys_lib.cost.recorded_fractions import default_assumptions
from recsys_lib.cost.services import Service, services
from recsys_lib.cost.turning_points import net_usd_by_method
from recsys_lib.cost.uncertainty import MethodQuality
from recsys_lib.cost.units import two_digits
from recsys_lib.experiments.notebooks import numbered_notebooks, read_notebook
from recsys_lib.reporting import claims as ledger
from recsys_lib.reporting import modules_page, numbers

FILES = {"en": ROOT / "README.md", "zh": ROOT / "README.zh-CN.md"}
BLOCKS = ("answer", "notebooks")
QUESTION = {"en": "question", "zh": "问题"}
CLAIMS = {"en": TABLES / "claims.md", "zh": TABLES / "claims.zh.md"}
QUESTIONS = TABLES / "questions.md"
# The figure of the answer, in figures/.
FIGURE = "16_verdict.png"
SHOWN = (
    "EASE top 200",
    "EASE + TF-IDF and metadata map, whole",
    "EASE + MiniLM map, whole",
    "one list, EASE + MiniLM map",
    "8B LLM reranks, logits",
)
# Dollars that 0.01 NDCG@10 is worth per million lists: the best option of each service is bold at this value.
USD_PER_POINT = 10.0
HEADS = {
    "en": ("deployment option", "warm items", "cold items", "shop", "social feed", "streaming"),
    "zh": ("部署方案", "已有交互的物品", "冷启动物品", "商店", "社交信息流", "流媒体"),
}
UNKNOWN = {"en": "not measured", "zh": "未测"}
CHANCE = {"en": "chance", "zh": "随机"}
TIE = {"en": "tie", "zh": "持平"}
LEGEND = {
    "en": "Tie: no difference from bold is shown. One list: warm and cold items compete for places.",
    "zh": "持平：与粗体方案之差的 95% 区间包含 0。one list：有交互与冷启动物品争夺同一列表的位置。",
}
BROKEN = {"en": "breaks the latency limit", "zh": "超出延迟上限"}


def answer(language: str = "en") -> str:
    """NDCG@10 and dollars a month of the options that matter, for the three services; the best of each
    service is bold, and what is tied with it says so.
    """
    methods, a = measured_quality.recorded_methods(), default_assumptions()
    placed: dict[str, dict[str, Deployment]] = {}
    marks_of: dict[str, dict[str, str]] = {}
    for name, one in services().items():
        placed[name] = {d.name: d for d in deployments(one, a)}
        marks_of[name] = _marks(placed[name], methods, one, language)
    best = [option for of in marks_of.values() for option, mark in of.items() if mark == "**"]
    lines = [f"| {' | '.join(HEADS[language])} |", "|---|---|---|---:|---:|---:|"]
    by_name = {o.name: o for o in OPTIONS}
    for option in sorted(dict.fromkeys([*SHOWN, *best]), key=list(by_name).index):
        quality = [
            UNKNOWN[language] if value is None else f"{value:.3f}"
            for value in (methods[option].warm, methods[option].cold)
        ]
        if by_name[option].cold == "chance":
            quality[1] += f" ({CHANCE[language]})"
        bills = [_bill(placed[name][option], marks_of[name].get(option, ""), language) for name in placed]
        lines.append(f"| {' | '.join([option, *quality, *bills])} |")
    return "\n".join([*lines, "", LEGEND[language]])


def statements(language: str = "en") -> str:
    """What the README says between the answer's figure and its table, as Markdown."""
    text = FILES[language].read_text(encoding="utf-8")
    after_figure = text.partition(f"figures/{FIGURE})")[2]
    return after_figure.partition("<!-- answer")[0].strip()


def _marks(
    placed: Mapping[str, Deployment], methods: Mapping[str, MethodQuality], one: Service, language: str
) -> dict[str, str]:
    """By option: ** where it earns most, and the word for a tie with that one."""
    net = net_usd_by_method(methods, one, default_assumptions(), USD_PER_POINT)
    able = {name: value for name, value in net.items() if value > -math.inf}
    best = max(able, key=able.__getitem__)
    bills = {name: placed[name].usd_per_month for name in able}
    leads = leads_of(methods, bills, best, one, USD_PER_POINT)
    return {name: TIE[language] for name, by in leads.items() if by.tied} | {best: "**"}


def _bill(one: Deployment, mark: str, language: str) -> str:
    text = f"{'≥ ' if one.basis == 'bound' else ''}${two_digits(one.usd_per_month)}"
    if one.problem:
        return f"{text}, {BROKEN[language]}"
    return f"{mark}{text}{mark}" if "*" in mark else f"{text} ({mark})" if mark else text


def notebooks(language: str = "en") -> str:
    """A table of the notebooks in reading order, with the question that each answers.

    In English the question is the notebook's title, in Chinese that of ``data/notebooks.csv``; a notebook
    that is not listed there keeps its title.
    """
    with open(TABLES / "notebooks.csv", encoding="utf-8", newline="") as file:
        listed = {row["notebook"]: row["question_zh"] for row in csv.DictReader(file)}
    lines = [f"| | {QUESTION[language]} |", "|---|---|"]
    for path in numbered_notebooks():
        heading = re.search(r"^# (?:\d\d · )?(.+)$", read_notebook(path).cells[0].source, re.M)
        question = heading[1] if heading else path.stem
        if language == "zh":
            question = listed.get(path.stem, question)
        lines.append(f"| [{path.stem[:2]}](notebooks/{path.name}) | {question} |")
    return "\n".join(lines)


def pages() -> dict[Path, str]:
    """The pages that the READMEs link to: the ledger in two languages, the practitioners' questions, and all
    modules.
    """
    titles = {"en": "The article's claims, tested", "zh": "文章的主张与检验结果"}
    made = {}
    for language, title in titles.items():
        body = f"# {title}\n\n{ledger.count(language)}.\n\n{ledger.table(language)}\n"
        made[CLAIMS[language]] = body
    template = (Path(__file__).parent / "pages" / "questions.md").read_text(encoding="utf-8")
    made[QUESTIONS] = numbers.filled(template)
    made[modules_page.PAGE] = modules_page.page()
    return made


def marks(block: str) -> tuple[str, str]:
    """Where a block begins and ends."""
    return f"<!-- {block}: written by run --in-place -->", f"<!-- end of {block} -->"


def renewed(text: str, language: str) -> str:
    """The README's text with every block anew.

    Raises:
        InputError: a mark is missing.
    """
    for block, table in zip(BLOCKS, (answer(language), notebooks(language)), strict=True):
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
    """Renew both READMEs and the pages they link to."""
    for language, path in FILES.items():
        write_atomically(path, renewed(path.read_text(encoding="utf-8"), language))
    for path, text in pages().items():
        write_atomically(path, text)
