"""Records have one of a few forms, and each kept file has one."""

import pytest

from recsys_lib.core import paths, records
from recsys_lib.core.errors import InputError

RUN = {"notebook": "n", "parameters": {}, "metrics": {}, "environment": {}, "seconds": 1.5}
PART = {"date": "d", "method": "m", "device": "cpu", "environment": {}, "seconds": 1, "rows": []}
ONE_OF_EACH = {
    "run": RUN,
    "outcome": {"id": "i", "notebook": "n", "parameters": {}, "status": "finished", "seconds": 2},
    "bench": {"bench": "search", "date": "d", "environment": {}, "rows": []},
    "machine": {"machine": "m", "parts": {"points": PART}},
    "probe": {"measurements": [], "environment": {}},
}


@pytest.mark.parametrize("path", sorted(paths.MEASUREMENTS.glob("*.json")), ids=lambda path: path.stem)
def test_every_kept_record_has_a_known_form(path):
    assert records.read(path)


@pytest.mark.parametrize("form", ONE_OF_EACH)
def test_a_record_of_each_form_is_read_back_with_its_schema(form, tmp_path):
    path = tmp_path / "a.json"
    records.write(path, ONE_OF_EACH[form])
    assert records.read(path) == {"schema": 1, **ONE_OF_EACH[form]}
    records.write(path, records.read(path))
    assert records.read(path) == {"schema": 1, **ONE_OF_EACH[form]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([RUN | {"schema": 2}], "a, record 0: schema 2, expected 1: update recsys_lib"),
        ([RUN, {**RUN, "metrics": 3}], "a, record 1: expected metrics as dict, found int"),
        ([{"notebook": "n"}], "a, record 0: expected parameters as dict, found nothing"),
        ({"bench": "search"}, "a: expected date as str, found nothing"),
        ({"machine": "m", "parts": {"points": []}}, "a, part points: expected an object with date"),
        (
            {"name": "m"},
            "a: expected a record with one of the keys status, notebook, bench, machine, measurements",
        ),
        ("text", "a: expected a record as an object, found str"),
    ],
)
def test_another_form_is_refused_in_one_line(content, message, tmp_path):
    with pytest.raises(InputError, match=message):
        records.check(content, "a")
    with pytest.raises(InputError):
        records.write(tmp_path / "a.json", content)
    assert not (tmp_path / "a.json").exists()


def test_only_lists_of_runs_are_studies(tmp_path):
    path = tmp_path / "a.json"
    records.write(path, [RUN])
    assert records.runs_of(path) == [{"schema": 1, **RUN}]
    for other in (RUN, [ONE_OF_EACH["bench"]], [ONE_OF_EACH["outcome"]]):
        records.write(path, other)
        with pytest.raises(
            InputError, match=r"a\.json: expected a list of runs, as sweep --record writes it"
        ):
            records.runs_of(path)


def test_what_is_not_finite_leaves_the_old_file_and_a_damaged_one_is_one_line(tmp_path):
    path = tmp_path / "a.json"
    records.write_json(path, [1])
    with pytest.raises(ValueError, match="JSON compliant"):
        records.write_json(path, [float("nan")])
    assert records.read_json(path) == [1]
    path.write_text("[1,", encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.json: cannot be read"):
        records.read(path)
