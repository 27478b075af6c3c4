"""What goes wrong in people's own files: each mistake in one line, nothing lost silently."""

import unicodedata
from pathlib import Path

import pytest

from recsys_lib.core.errors import InputError
from recsys_lib.data import datasets

EVENTS, ITEMS = "user,item\na,1\nb,2\nc,3\nd,4\n", "id,title\n1,One\n2,Two\n3,Three\n4,Four\n"


@pytest.fixture
def read(tmp_path):
    def call(events=EVENTS, items=ITEMS, **options):
        for name, text in (("events.csv", events), ("items.csv", items)):
            content = text if isinstance(text, bytes) else text.encode()
            (tmp_path / name).write_bytes(content)
        return datasets.from_csv(tmp_path / "events.csv", tmp_path / "items.csv", **options)

    return call


BROKEN = [
    'id,title\n1,"Broken\n2,Two\n3,Three\n4,"Four"\n',
    'id,title\n1,"Broken\n2,Two\n3,Three"\n4,Four\n',
    'id,title\n1,"Broken\n2,Two "\n3,Three\n4,Four\n',
]


@pytest.mark.parametrize("items", BROKEN)
def test_a_quote_that_swallows_rows_is_refused(read, items):
    with pytest.raises(
        InputError, match=r"items\.csv row 2: a quote opens and the field runs over \d lines"
    ) as caught:
        read(items=items)
    assert "\n" not in str(caught.value)
    assert read(items=items, quotes="off").n_items == 4
    assert read(items=items, quotes="trust", unknown_items="drop").n_items < 4


def test_a_text_of_several_lines_is_one_text(read):
    data = read(items='id,title\n1,"One, two\nor three, or\nfour"\n2,"a ""b"" c"\n3,x\n4,y\n')
    assert data.items["title"][0] == "One, two\nor three, or\nfour" and data.notes == ()


def test_ids_are_compared_after_a_stated_normalization(read):
    decomposed = unicodedata.normalize("NFD", "é")
    data = read(f"user,item\na,1.0\nb,{decomposed}\n", "id,title\n1,One\né,Two\n")
    assert (data.items["id"].tolist(), data.item.tolist()) == (["1", "é"], [0, 1])
    assert data.notes == ("2 item ids of events.csv were normalized, such as '1.0' to '1'",)
    with pytest.raises(InputError, match=r"row 3 column id: '1\.0', expected each id once"):
        read(items="id,title\n1,One\n1.0,Two\n")


@pytest.mark.parametrize(("rule", "written"), [("zeros", ["007", "008"]), ("case", ["ABC", "Def"])])
def test_near_misses_are_reported_and_merged_on_request(read, rule, written):
    events = f"user,item\na,{written[0]}\nb,{written[1]}\nc,zz\nc,ok\n"
    plain = [w.lstrip("0") if rule == "zeros" else w.lower() for w in written]
    items = f"id,title\n{plain[0]},One\n{plain[1]},Two\nok,Three\n"
    data = read(events, items, unknown_items="drop")
    assert data.n_dropped == 3
    assert (
        f"2 of the 3 unknown ids (67%) match after {'removing' if rule == 'zeros' else 'ignoring'}"
        in data.notes[0]
    )
    merged = read(events, items, unknown_items="drop", match_ids=rule)
    assert (merged.n_dropped, merged.notes) == (1, ())
    with pytest.raises(InputError, match=f"match_ids='{rule}'"):
        read(events, items)


@pytest.mark.parametrize("first", ["sep=;\n", '"sep=;"\r\n', "\ufeffsep=;\n"])
def test_a_first_line_may_state_the_separator(read, first):
    assert read(first + EVENTS.replace(",", ";"), separator="").n_interactions == 4
    with pytest.raises(InputError, match=r"events\.csv row 3 column item: 'zz'"):
        read(first + "user;item\na;zz\n")


def test_a_long_field_is_read(read):
    data = read(items=ITEMS.replace("Four", "x" * 200_000))
    assert len(data.items["title"][3]) == 200_000
    with pytest.raises(InputError, match="row 6 column id: '4'"):
        read(items=ITEMS.replace("Four", "x" * 200_000) + "4,again\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"items": ITEMS.replace("4,", "9.78014E+12,")},
            r"items\.csv row 5 column id: '9\.78014E\+12', .*spreadsheet",
        ),
        (
            {"events": "1,31,2.5\n1,32,3.5\n"},
            r"events\.csv: its first row '1, 31, 2\.5' looks like data; expected a header",
        ),
        ({"events": b"user,item\na,\x001\n"}, "holds NUL bytes"),
        ({"items": "id,title\n1,三体是一本科幻小说\n".encode("gb18030")}, "encoding='gb18030'"),
        ({"items": "id,title\n1,Renée à Orléans\n".encode("latin-1")}, "encoding='iso-8859-1'"),
        ({"items": "id,title\n1,привет мир\n".encode("cp1251")}, "encoding='iso-8859-1'"),
        ({"match_ids": "any"}, "match_ids='any': expected one of exact, zeros, case"),
        ({"quotes": "no"}, "quotes='no': expected one of check, trust, off"),
        ({"events": "\ufeffuser,item\r\nnan,1\r\n"}, "row 2 column user: 'nan', expected an id"),
        ({"items": ITEMS + "1,again\n"}, "row 6 column id: '1', expected each id once"),
        ({"events": "user;item\na,1\n", "separator": ""}, "column"),
    ],
)
def test_a_mistake_is_answered_in_one_line(read, change, message):
    with pytest.raises(InputError, match=message) as caught:
        read(**change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), FileNotFoundError(2, "No such file")]
)
def test_a_file_that_cannot_be_read_or_vanishes_is_named(read, monkeypatch, error):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr("pandas.read_csv", refuse)
    with pytest.raises(InputError, match=r"events\.csv: not readable"):
        read()


# ---------------------------------------------------------------- files that are not what they should be


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (b"", r"events\.csv"),
        (b"user,item\n", r"events\.csv"),
        (b"user,item\na,1\x00\n", r"events\.csv"),
        (b"user,item\nnan,1\n", r"events\.csv row 2 column user"),
        (b"user,item\na,NULL\n", r"events\.csv row 2 column item"),
        (b"user,item\na," + b"9" * 200_000 + b"\n", r"events\.csv"),
    ],
    ids=["empty", "header only", "NUL", "nan user", "NULL item", "huge id"],
)
def test_a_file_that_cannot_be_read_gets_one_short_line(read, events, message):
    with pytest.raises(InputError, match=message) as caught:
        read(events)
    assert "\n" not in str(caught.value) and "\x00" not in str(caught.value) and len(str(caught.value)) < 600


def test_an_item_twice_is_refused(read):
    with pytest.raises(InputError, match=r"items\.csv row 3 column id: '1', expected each id once"):
        read(items="id,title\n1,One\n1,Two\n")


@pytest.mark.parametrize(
    "events",
    [b"\xef\xbb\xbfuser,item\na,1\n", b"user,item\r\na,1\r\n", b"user,item\na,1"],
    ids=["BOM", "CRLF", "no newline at the end"],
)
def test_one_row_in_every_usual_form_is_read(read, events):
    data = read(events)
    assert (data.n_interactions, data.n_users) == (1, 1) and data.item.tolist() == [0]


@pytest.mark.parametrize("kind", ["missing", "folder", "vanished link"])
def test_a_path_that_is_no_file_gets_one_line(tmp_path, kind):
    items, path = tmp_path / "items.csv", tmp_path / "events.csv"
    items.write_text(ITEMS)
    if kind == "folder":
        path.mkdir()
    elif kind == "vanished link":
        path.symlink_to(tmp_path / "gone.csv")
    with pytest.raises(InputError, match=r"events\.csv") as caught:
        datasets.from_csv(path, items)
    assert "\n" not in str(caught.value)


def test_a_file_without_permission_gets_one_line(tmp_path, monkeypatch):
    """Root may read everything, so that the system's refusal is imitated."""
    (tmp_path / "items.csv").write_text(ITEMS)
    (tmp_path / "events.csv").write_text(EVENTS)
    original = Path.open

    def refuse(self, *arguments, **options):
        if self.name == "events.csv":
            raise PermissionError(13, "Permission denied", str(self))
        return original(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(InputError, match=r"events\.csv.*[Pp]ermission") as caught:
        datasets.from_csv(tmp_path / "events.csv", tmp_path / "items.csv")
    assert "\n" not in str(caught.value)
