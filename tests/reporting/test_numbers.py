"""Numbers in prose come from records: found, formatted, or refused by name."""

import json

import pytest

from recsys_lib.core.errors import InputError
from recsys_lib.reporting import numbers


@pytest.fixture
def folder(tmp_path):
    run = {
        "notebook": "x",
        "parameters": {},
        "metrics": {"recall": {"text, raw: a": 0.0214, "n": 3}},
        "environment": {},
    }
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "03_ranking.json").write_text(
        json.dumps(run | {"seconds": 1.0}), encoding="utf-8"
    )
    runs = []
    for data, value in (("films", 0.5), ("books", 0.25)):
        runs.append(
            run | {"parameters": {"protocol": data, "k": 10}, "metrics": {"kept": value}, "seconds": 1.0}
        )
    (tmp_path / "a-study.json").write_text(json.dumps(runs), encoding="utf-8")
    return tmp_path


def test_a_reference_becomes_its_number(folder):
    text = (
        "raw {03_ranking/recall/text, raw: a:.3f}, {03_ranking/recall/n:.0f} of {a-study@books,10/kept:.0%}"
    )
    assert numbers.filled(text, folder) == "raw 0.021, 3 of 25%"
    assert numbers.filled("a set {1, 2} stays", folder) == "a set {1, 2} stays"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("03_ranking/recall/absent", "has no number at 'recall / absent'"),
        ("03_ranking/recall", "has no number at 'recall'"),
        ("a-study@music/kept", "no run with the parameters 'music'"),
        ("b-study/kept", "b-study.json: cannot be read"),
    ],
)
def test_what_no_record_has_is_named(place, said, folder):
    with pytest.raises(InputError, match=said):
        numbers.value(place, folder)
