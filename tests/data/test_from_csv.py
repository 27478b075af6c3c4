"""A user's own CSV files: what is read, and how each mistake is named."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_lib.core.errors import InputError
from recsys_lib.data import datasets

# ---------------------------------------------------------------- a reader's own files

EVENTS = "user,item,rating,timestamp\nanna,007,5,100\nanna,b,,200\n李雷,007,3,300\n"
ITEMS = "id,title,year\n007,Ein Fall für König,1999\nb,中文书,\n"


@pytest.fixture
def read(tmp_path):
    def read(events=EVENTS, items=ITEMS, users=None, encoding="utf-8", **options):
        paths = []
        for name, text in (("events.csv", events), ("items.csv", items), ("users.csv", users)):
            path = tmp_path / name
            if text is not None:
                path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
            paths.append(path)
        return datasets.from_csv(paths[0], paths[1], paths[2] if users else None, **options)

    return read


def test_own_files_are_read(read):
    data = read()
    assert (data.n_users, data.n_items, data.n_interactions) == (2, 2, 3)
    assert data.items["id"].tolist() == ["007", "b"]
    assert data.item_texts(("title", "year")) == ["Ein Fall für König (1999)", "中文书"]
    assert set(data.users["id"]) == {"anna", "李雷"}
    assert data.rating[0] == 5 and np.isnan(data.rating[1])
    assert data.timestamp.tolist() == [100, 200, 300]


def test_own_files_in_other_shapes(read):
    semicolons = read(
        "\ufeffkunde;isbn\n1;007\n", ITEMS.replace(",", ";"), separator=";", columns={"user": "kunde"}
    )
    assert (
        semicolons.n_interactions == 1 and semicolons.timestamp is None and np.isnan(semicolons.rating).all()
    )
    dates = read("user,item,date\na,007,2004-03-31 17:05\nb,b,2004-04-01\n")
    assert dates.timestamp.tolist() == [1080752700, 1080777600]
    merged = read("user,item\na,007\na,007\na,b\n")
    assert merged.n_interactions == 2
    repeated = read("user,item,score,rating\na,007,9,4\n")  # the first of the usual names wins
    assert repeated.rating.tolist() == [4]
    # The ids that interactions use.
    owner = read("user,item\na,007\n", "user,item,title,id\nz,007,T,1\nz,b,U,2\n")
    assert owner.items["id"].tolist() == ["007", "b"] and owner.items["user"].tolist() == ["z", "z"]
    chosen = read(items="id,title,name\n007,x,Xaver\nb,y,Yves\n", columns={"title": "name"})
    assert chosen.items["title"].tolist() == ["Xaver", "Yves"]
    years = read(items="id,title,year\n007,x,1999.0\nb,y,\n")
    assert years.item_texts() == ["x (1999)", "y"]
    people = read(users="id,age\nanna,30\n李雷,40\n")
    assert people.users["age"].tolist() == ["30", "40"]


def test_names_are_compared_by_letters_and_digits(read):
    data = read(
        "User-ID;ISBN;Book Rating\n1;007;3\n",
        "isbn;Title\n007;x\n",
        separator="",
        columns={"rating": "book_rating"},
    )
    assert (data.users["id"].tolist(), data.items["title"].tolist(), data.rating.tolist()) == (
        ["1"],
        ["x"],
        [3],
    )
    odd = read("???,item\na,b\n", columns={"user": "???"})  # a name without any
    assert odd.users["id"].tolist() == ["a"]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_each_file_has_its_own_separator(read, separator):
    events = EVENTS.replace(",", separator)
    data = read(events, 'id,title,"a;b|c;d|e;f"\n007,x;y;z,\nb,"p|q|r",\n', separator="")
    assert (data.n_interactions, data.items["title"].tolist()) == (3, ["x;y;z", "p|q|r"])
    assert (
        read("user\titem\na\tb\n", ITEMS.replace(",", "\t"), separator="\\t").n_interactions == 1
    )  # as a shell passes it
    with pytest.raises(InputError, match="no column for 'item'"):
        read("user\na\n", separator="")


@pytest.mark.parametrize(("unit", "digits"), [(1, 0), (10**3, 3), (10**6, 6), (10**9, 9)])
def test_timestamps_in_smaller_units_are_recognized(read, unit, digits):
    seconds = [1080752700, 1712345678]
    rows = "".join(
        f"a,{item},{s * unit + unit // 2}\n" for item, s in zip(("007", "b"), seconds, strict=True)
    )
    assert read(f"user,item,timestamp\n{rows}").timestamp.tolist() == seconds


REPEATED = "user,item,rating,time\na,b,1,300\na,b,2,100\na,007,3,200\na,b,4,200\na,b,4,200\n"


@pytest.mark.parametrize(
    ("events", "duplicates", "ratings"),
    [
        (REPEATED, "first", [2, 3]),  # by time
        (REPEATED, "last", [1, 3]),
        (REPEATED.replace("time", "note"), "first", [1, 3]),  # by row
        (REPEATED.replace("time", "note"), "last", [3, 4]),
    ],
)
def test_repeated_interactions_can_be_merged(read, events, duplicates, ratings):
    data = read(events, duplicates=duplicates)
    assert (data.rating.tolist(), data.n_merged, data.n_dropped) == (ratings, 3, 0)
    assert data.matrix().max() == 1


def test_interactions_of_unknown_items_can_be_dropped(read):
    data = read("user,item,time\na,zz,1\na,b,2\nb,zz,3\n", unknown_items="drop")
    assert (data.n_dropped, data.n_interactions, data.users["id"].tolist(), data.timestamp.tolist()) == (
        2,
        1,
        ["a"],
        [2],
    )
    with pytest.raises(InputError, match=r"row 2 column item: 'zz'.*1 more"):
        read("user,item,time\na,zz,1\na,b,2\nb,zz,3\n")


def test_missing_texts_are_empty(read):
    data = read(items="id,title,brand,year\n007,NULL,<NA>,nan\nb,None,null,1999\n")
    assert data.items["title"].tolist() == ["", "None"]  # a title that may be one stays
    assert data.items["brand"].tolist() == ["", "null"]
    assert data.item_texts() == ["", "None (1999)"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"events": ""}, "events.csv: the file is empty"),
        ({"events": "user,item\n"}, "events.csv: a header and no rows"),
        ({"events": "item\nb\n"}, "events.csv: no column for 'user'"),
        ({"items": "id,name2\nb,x\n"}, "items.csv: no column for 'title'"),
        ({"events": "user,item\na,b\na,zz\n"}, "events.csv row 3 column item: 'zz', expected an id of "
            "items.csv"),
        ({"events": "user,item\n,b\n"}, "events.csv row 2 column user: '', expected an id"),
        ({"events": "user,item,rating\na,b,good\n"}, "events.csv row 2 column rating: 'good', expected a "
            "number"),
        ({"events": "user,item,rating\na,b,inf\n"}, "column rating: 'inf'"),
        ({"events": "user,item,timestamp\na,b,100\na,007,soon\nc,b,3\n"}, "row 3 column timestamp: 'soon', "
            "expected seconds"),
        ({"events": "user,item,timestamp\na,b,yesterdayish\n"}, "row 2 column timestamp"),
        ({"events": "user,item,rating\na,b,1\na,b,2\n"}, "row 3 column user × item: 'a × b', expected each "
            "pair once"),
        ({"events": "user,item\na,b\na,b,c,d\n"}, "events.csv row 3: 4 fields, expected 2 as in the header"),
        ({"events": "user,item\na,b,c\n"}, "events.csv row 2: 3 fields, expected 2 as in the header"),
        ({"events": 'user,item\na,b\n"c,b\n'}, "events.csv row 3: a quote opens and never closes"),
        ({"events": "user,item\n\n\na,zz\n"}, "events.csv row 4 column item: 'zz'"),
        ({"events": 'user,item,note\na,b,"1\n2\n3"\na,zz,\n'}, "events.csv row 5 column item: 'zz'"),
        ({"events": "user,item\r\na,b\r\na,zz\r\n"}, "events.csv row 3 column item: 'zz'"),
        ({"events": "user,item\nnan,b\n"}, "events.csv row 2 column user: 'nan', expected an id"),
        ({"items": "id,title\nNULL,x\n"}, "items.csv row 2 column id: 'NULL', expected an id"),
        ({"events": "user;item\na;b\n"}, "events.csv: no column for 'user'.*pass separator=';'"),
        ({"separator": "::"}, "separator='::': expected one character"),
        ({"events": "user,item,rating\na,b,1e39\n"}, "column rating: '1e39'"),
        (
            {"events": "user,item,time\na,b,1080752700\na,007,1080752700000\n"},
            "row 3 column timestamp: '1080752700000', expected seconds since 1970, or milliseconds in every "
            "row",
        ),
        ({"events": "user,item,time\na,b,1e300\n"}, "column timestamp: '1e300'"),
        ({"events": "user,item,date\na,b,03/04/2004\n"}, "column timestamp: '03/04/2004', expected .* such "
            "as 2004-03-31"),
        ({"items": "id,title,year\nb,x,inf\n007,y,\n"}, "items.csv row 2 column year: 'inf'"),
        ({"items": "id,title\nb,x\nb,y\n007,z\n"}, "items.csv row 3 column id: 'b', expected each id once"),
        ({"items": "id,title,year\nb,x,MCM\n007,z,\n"}, "items.csv row 2 column year: 'MCM', expected a year "
            "or nothing"),
        ({"users": "id\nanna\n"}, "events.csv row 4 column user: '李雷', expected an id of users.csv"),
        ({"items": "id,title\n007,x\nb,é\n".encode("iso-8859-1")}, r"items.csv row 3: byte \d+ \(0xe9\) is "
            r"not utf-8"),
        ({"separator": "\n"}, r"separator='\\n': expected one character"),
        ({"columns": {"user": 5}}, r"columns=\{'user': 5\}: expected texts"),
        ({"columns": {"user": "item"}}, "events.csv: column 'item' is taken for user and item: expected one "
            "each"),
        ({"events": "user,item,day,time\na,b,x,20040331\na,007,y,20040401\n"}, "'20040331', expected days as "
            "2004-03-31"),
        ({"columns": {"uesr": "x"}}, r"columns=\['uesr'\]"),
        ({"columns": {"user": "kunde"}}, "looked for kunde"),
        ({"events": "user,item\na,zz\n", "unknown_items": "drop"}, r"no item id in common \('zz' here, '007' "
            r"there\)"),
        ({"duplicates": "sum"}, "duplicates='sum': expected one of refuse, first, last"),
        ({"unknown_items": "keep"}, "unknown_items='keep': expected one of refuse, drop"),
        ({"events": EVENTS.encode("utf-16")}, r"row 1: byte 0 \(0xff\) is not utf-8; .*encoding='utf-16'"),
        ({"items": b"PK\x03\x04xlsx"}, "items.csv: an Excel, zip or gzip file; save or unpack it as CSV"),
    ],
)  # fmt: skip
def test_a_mistake_in_own_files_is_named(read, change, message):
    with pytest.raises(InputError, match=message) as caught:
        read(**change)
    assert "\n" not in str(caught.value)


def test_a_bad_byte_far_into_a_file_is_found(read):
    lines = b"user,item\n" + b"somebody,b\n" * 60_000  # beyond the buffer that pandas decodes at a time
    with pytest.raises(
        InputError, match=rf"events.csv row 60002: byte {len(lines) + 3} \(0xe9\) is not utf-8"
    ):
        read(lines + "renée,b\n".encode("iso-8859-1"))


@settings(deadline=None, max_examples=30, derandomize=True)
@given(
    st.lists(st.sampled_from(["", '"two\nrows"', "plain", '"a "" quote"', '"a, comma"']), max_size=8),
    st.data(),
)
def test_rows_are_counted_as_an_editor_does(tmp_path_factory, notes, data):
    """Whatever notes and blank lines come before, the error names the line on which the bad record starts."""
    folder = tmp_path_factory.mktemp("rows")
    text = "user,item,note\n"
    for n, note in enumerate(notes):
        text += "\n" * data.draw(st.integers(0, 2)) + f"u{n},b,{note}\n"
    (folder / "events.csv").write_text(text + "last,nowhere,\n", encoding="utf-8", newline="")
    (folder / "items.csv").write_text(ITEMS, encoding="utf-8")
    row = text.count("\n") + 1
    with pytest.raises(InputError, match=f"events.csv row {row} column item: 'nowhere'"):
        datasets.from_csv(folder / "events.csv", folder / "items.csv")


def test_an_unknown_encoding_is_named(read, tmp_path):
    read()
    with pytest.raises(InputError, match="encoding='klingon': Python knows no such encoding"):
        datasets.from_csv(tmp_path / "events.csv", tmp_path / "items.csv", encoding="klingon")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv: no such file$"):
        datasets.from_csv(tmp_path / "none.csv", tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"none\.csv: no such file$"):
        datasets.from_csv(tmp_path / "nowhere" / "none.csv", tmp_path / "none.csv")
    (tmp_path / "events.csv").write_text(EVENTS)
    with pytest.raises(InputError, match=r"event\.csv: no such file; did you mean events.csv\?"):
        datasets.from_csv(tmp_path / "event.csv", tmp_path / "none.csv")
    with pytest.raises(InputError, match="a folder, expected a CSV file"):
        datasets.from_csv(tmp_path, tmp_path / "none.csv")
