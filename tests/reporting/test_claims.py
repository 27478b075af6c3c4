"""The ledger of claims: complete, with verdicts that mean something;
and what the READMEs carry is what tables and records say.
"""

import csv
import re

import pytest

from recsys_lib.core.errors import InputError
from recsys_lib.core.paths import NOTEBOOKS
from recsys_lib.reporting import claims as ledger
from recsys_lib.reporting import readme


def test_every_claim_has_its_verdict_number_and_notebook():
    rows = ledger.claims()
    assert len(rows) >= 22
    for row in rows:
        assert all(row[c].strip() for c in ("section", "claim", "found", "claim_zh", "found_zh")), row
        assert (NOTEBOOKS / row["shown in"]).exists(), row["shown in"]
        assert bool(row["condition"]) == bool(row["condition_zh"]), row["claim"]
        # The translation holds the numbers of the original.
        number = r"\d+(?:[.,]\d+)*"
        assert set(re.findall(number, row["found_zh"])) >= {
            n for n in re.findall(number, row["found"]) if "." in n and len(n) > 2
        }, row["found"]


@pytest.mark.parametrize("language", readme.FILES)
def test_the_readme_carries_the_answer_and_the_ledger(language):
    text = readme.FILES[language].read_text(encoding="utf-8")
    assert readme.renewed(text, language) == text, (
        "renew it: python -c 'from recsys_lib import readme; readme.write()'"
    )


def test_the_two_readmes_agree():
    tables = [re.findall(r"\*\*\$|\$[\d,]+|\.\d{3}", readme.answer(language)) for language in readme.FILES]
    assert tables[0] == tables[1] and len(tables[0]) > 20
    counts = [
        [ledger.table(k).count(f"**{v}**") for v in words]
        for k, words in (("en", ledger.VERDICTS), ("zh", ledger.VERDICTS.values()))
    ]
    assert counts[0] == counts[1] and sum(counts[0]) == len(ledger.claims())


def test_the_page_has_every_claim_and_leads_to_its_notebook():
    page = ledger.table_html()
    assert page.count("<tr>") == len(ledger.claims()) + 1
    assert page.count(".html") == len(ledger.claims()) and "ipynb" not in page


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
        InputError, match=r"line 2: verdict 'perhaps', expected one of holds, holds in part, does not hold"
    ):
        ledger.claims(write(tmp_path / "a.csv", verdict="perhaps"))
    for changes in ({"verdict": "holds in part"}, {"condition": "sometimes"}):
        with pytest.raises(InputError, match="a condition belongs to 'holds in part'"):
            ledger.claims(write(tmp_path / "a.csv", **changes))
    with pytest.raises(InputError, match="expected section, claim"):
        ledger.claims(write(tmp_path / "a.csv", more="1"))
    with pytest.raises(InputError, match="expected the marks"):
        readme.renewed("a readme without marks", "en")
