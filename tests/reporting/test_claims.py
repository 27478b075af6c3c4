"""The ledger of claims: complete, with verdicts that mean something;
and what the READMEs carry is what tables and records say.
"""

import csv
import re

import pytest

from recsys_lib.core.errors import InputError
from recsys_lib.core.paths import NOTEBOOKS, ROOT
from recsys_lib.reporting import claims as ledger
from recsys_lib.reporting import numbers, readme


def test_every_claim_has_its_verdict_and_notebook():
    rows = ledger.claims()
    assert len(rows) >= 30
    for row in rows:
        assert all(row[c].strip() for c in ("section", "claim", "found", "claim_zh", "found_zh")), row
        assert row["shown in"] or row["verdict"] == "not tested yet", row["claim"]
        assert not row["shown in"] or (NOTEBOOKS / row["shown in"]).exists(), row["shown in"]
        assert bool(row["condition"]) == bool(row["condition_zh"]), row["claim"]


def test_both_languages_take_the_same_numbers_from_records():
    for row in ledger.written():
        assert numbers.places(row["found"]) == numbers.places(row["found_zh"]), row["claim"]


def test_no_measured_number_is_typed():
    # What looks like a result (a decimal or a percentage) stands in a reference; counts and the article's own
    # numbers may not.
    for row in ledger.written():
        typed = re.sub(r"\{[^{}]+\}", "", row["found"]).replace("0.95", "")
        assert not re.search(r"\d\.\d|\d%|\d times", typed), row["found"]


@pytest.mark.parametrize("language", readme.FILES)
def test_the_readme_carries_the_answer_and_the_notebooks(language):
    text = readme.FILES[language].read_text(encoding="utf-8")
    command = "renew it: python -c 'from recsys_lib.reporting import readme; readme.write()'"
    assert readme.renewed(text, language) == text, command


def test_the_pages_are_what_records_say():
    for path, text in readme.pages().items():
        assert path.read_text(encoding="utf-8") == text, path.name
        assert "{" not in re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.S), (
            f"{path.name}: a number was not filled in"
        )


@pytest.mark.parametrize("path", [*readme.FILES.values(), *readme.pages()])
def test_links_of_a_page_lead_somewhere(path):
    for target in re.findall(
        r"\]\((?!https?:|#|\.\./\.\./actions)([^)#\s]+)", path.read_text(encoding="utf-8")
    ):
        assert (path.parent / target).exists(), f"{path.name} leads to {target}"


def test_the_readme_is_read_in_five_minutes():
    # Bars of tables are no words, and code is run, not read.
    text = re.sub(r"```.*?```", "", readme.FILES["en"].read_text(encoding="utf-8"), flags=re.S)
    words = [word for word in text.split() if re.search(r"\w", word)]
    assert len(words) <= 900, len(words)


def test_every_package_is_named():
    folders = [p.parent.name for p in (ROOT / "recsys_lib").glob("*/__init__.py")]
    page = readme.FILES["en"]
    assert [f for f in folders if f"| `{f}` |" not in page.read_text(encoding="utf-8")] == []


def test_the_two_readmes_agree():
    tables = [re.findall(r"\*\*\$|\$[\d,]+|\.\d{3}", readme.answer(language)) for language in readme.FILES]
    assert tables[0] == tables[1] and len(tables[0]) > 20
    counts = [
        [ledger.table(k).count(f"**{v}**") for v in words]
        for k, words in (("en", ledger.VERDICTS), ("zh", ledger.VERDICTS.values()))
    ]
    # A condition follows its verdict inside the same cell.
    assert counts[0] == counts[1] and sum(counts[0]) == len(ledger.written())


def test_the_page_has_every_claim_and_leads_to_its_notebook():
    page = ledger.table_html()
    assert page.count("<tr>") == len(ledger.claims()) + 1
    assert (
        page.count(".html") == sum(bool(row["shown in"]) for row in ledger.written()) and "ipynb" not in page
    )


def write(path, **changes):
    row = (
        dict.fromkeys(ledger.COLUMNS, "x")
        | {"verdict": "holds", "condition": "", "condition_zh": ""}
        | changes
    )
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    return path


def test_mistakes_in_the_table_are_named(tmp_path):
    assert len(ledger.claims(write(tmp_path / "a.csv"))) == 1
    with pytest.raises(
        InputError, match=r"line 2: verdict 'perhaps', expected one of holds, holds in part, does not hold, "
    ):
        ledger.claims(write(tmp_path / "a.csv", verdict="perhaps"))
    for changes in ({"verdict": "holds in part"}, {"condition": "sometimes"}):
        with pytest.raises(InputError, match="a condition belongs to 'holds in part'"):
            ledger.claims(write(tmp_path / "a.csv", **changes))
    with pytest.raises(InputError, match="expected section, claim"):
        ledger.claims(write(tmp_path / "a.csv", more="1"))
    with pytest.raises(InputError, match="expected the marks"):
        readme.renewed("a readme without marks", "en")
