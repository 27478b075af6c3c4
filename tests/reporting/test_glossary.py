"""Every term of the glossary has a meaning, once."""

import pytest

from recsys_lib.core.errors import InputError
from recsys_lib.reporting import glossary


def test_terms_are_sorted_and_complete():
    terms = glossary.terms()
    assert len(terms) > 25
    assert [t["term"].lower() for t in terms] == sorted(t["term"].lower() for t in terms)
    assert all(t["meaning"].endswith(".") for t in terms)


@pytest.mark.parametrize(
    "text", ["term,meaning\n", "term,zh,meaning\na,b,\n", "term,zh,meaning\na,b,c\na,b,c\n"]
)
def test_a_damaged_table_is_one_line(text, tmp_path):
    (tmp_path / "g.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="expected"):
        glossary.terms(tmp_path / "g.csv")


def test_the_page_escapes_its_text():
    assert "<script" not in glossary.table_html() and "NDCG@10" in glossary.table_html()
