"""Loaders of published data sets, each on a small invented file of the published form; and bad files."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest

from recsys_lib.core.errors import InputError
from recsys_lib.data import datasets
from recsys_lib.data.datasets import assemble, hugging_face, locations

RATINGS = """userId,movieId,rating,timestamp
1,10,4.0,100
1,20,3.5,200
2,10,5.0,300
2,10,1.0,400
2,99,2.0,500
"""
MOVIES = """movieId,title,genres
20,"Nameless, The (1999)",(no genres listed)
10,Dawn (1995-1997),Drama|Comedy
30,Babylon 5,Sci-Fi
"""


def put(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        data = text.encode("utf-8") if isinstance(text, str) else text
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder


def pairs(data):
    users, items = data.users["id"].to_numpy()[data.user], data.items["id"].to_numpy()[data.item]
    return set(zip(users.tolist(), items.tolist(), strict=True))


# ---------------------------------------------------------------- MovieLens


@pytest.mark.parametrize("name", ["ml-latest-small", "ml-25m", "ml-32m"])
def test_movielens_csv_is_cleaned(tmp_path, name):
    tags = "userId,movieId,tag,timestamp\n1,10,Slow,1\n2,10,slow ,2\n2,10,moving,3\n"
    folder = put(tmp_path, {"ratings.csv": RATINGS, "movies.csv": MOVIES, "tags.csv": tags})
    data = datasets.load(name, folder)
    assert data.name == name and data.items["id"].tolist() == ["10", "20", "30"]
    assert data.items["title"].tolist() == ["Dawn", "The Nameless", "Babylon 5"]
    assert data.items["year"].tolist()[:2] == [1995, 1999] and data.items["year"].isna().tolist()[2]
    assert data.items["genres"].tolist() == ["Drama, Comedy", "", "Sci-Fi"]
    assert data.items["tags"].tolist() == ["slow, moving", "", ""]
    assert pairs(data) == {("1", "10"), ("1", "20"), ("2", "10")}
    # User 2 rated film 10 twice: the later rating stays; film 99 has no row.
    assert (data.n_dropped, data.n_merged) == (1, 1)
    assert data.rating[data.timestamp == 400].tolist() == [1.0]


def test_movielens_1m_is_cleaned(tmp_path):
    files = {
        "ratings.dat": "1::10::5::978300760\n2::20::3::978302109\n",
        "movies.dat": "10::Café Society, The (1995)::Drama|Comedy\n20::Dawn (1999)::War\n".encode(
            "iso-8859-1"
        ),
        "users.dat": "1::F::1::10::48067\n2::M::56::16::70072\n",
    }
    data = datasets.load("ml-1m", put(tmp_path, files))
    assert data.items["title"].tolist() == ["The Café Society", "Dawn"]
    assert data.users["age"].tolist() == [17, 60] and data.users["gender"].tolist() == ["F", "M"]
    assert data.users["occupation"].tolist() == ["K-12 student", "self-employed"]
    assert pairs(data) == {("1", "10"), ("2", "20")} and data.timestamp.tolist() == [978300760, 978302109]
    broken = put(tmp_path / "b", files | {"ratings.dat": "1::10::5::978300760\n2::20::3\n"})
    with pytest.raises(InputError, match=r"ratings\.dat row 2: 3 fields, expected 4"):
        datasets.load("ml-1m", broken)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("ratings.csv", "", r"ratings\.csv: the file is empty"),
        ("ratings.csv", "userId,rating,timestamp\n1,4,5\n", r"ratings\.csv: no column 'movieId'"),
        (
            "ratings.csv",
            RATINGS + "3,ten,1.0,5\n",
            r"ratings\.csv row 7 column movieId: 'ten', expected a number",
        ),
        ("movies.csv", "movieId,title,genres\n", r"movies\.csv: a header and no rows"),
        ("movies.csv", "movieId,title,genres\n1,Caf\xe9,x\n".encode("iso-8859-1"), r"movies\.csv: not utf-8"),
        ("movies.csv", MOVIES + "10,Dawn again,\n", "item id '10' occurs more than once"),
        ("movies.csv", "movieId,title,genres\n77,Other (2001),Drama\n", "none of its 5 interactions"),
    ],
)
def test_bad_movielens_files_are_refused_in_one_line(tmp_path, file, text, said):
    folder = put(tmp_path, {"ratings.csv": RATINGS, "movies.csv": MOVIES} | {file: text})
    with pytest.raises(InputError, match=said) as caught:
        datasets.load("ml-latest-small", folder)
    assert "\n" not in str(caught.value)


def test_rows_without_ids_are_left_out_and_counted(tmp_path):
    ratings = RATINGS + ",10,4.0,600\n3,,4.0,700\n3,10,4.0,\n3,30,2.5,800\n"
    data = datasets.load("ml-25m", put(tmp_path, {"ratings.csv": ratings, "movies.csv": MOVIES}))
    assert data.n_dropped == 4 and ("3", "30") in pairs(data) and ("3", "10") not in pairs(data)
    assert data.notes[0] == "3 interactions name no user, item or time and were left out."


def test_pandas_own_reader_finds_the_same(tmp_path, monkeypatch):
    folder = put(tmp_path, {"ratings.csv": RATINGS, "movies.csv": MOVIES})
    first = datasets.load("ml-25m", folder)
    monkeypatch.setattr(assemble, "_engine", lambda: "c")
    second = datasets.load("ml-25m", folder)
    assert np.array_equal(first.user, second.user) and np.array_equal(first.rating, second.rating)


# ---------------------------------------------------------------- two CSV files, citeulike, Amazon


def test_plain_files_take_places_for_times_and_say_so(tmp_path):
    events = "user,item,place\na,1,0\na,2,1\nb,2,0\nb,9,1\n,1,0\n"
    items = 'item,title,description,brand\n1,Glue,"Strong\n glue",Acme\n2,Tape,,\n'
    folder = put(tmp_path, {"interactions.csv": events, "items.csv": items})
    data = datasets.load("amazon-office-products", folder)
    assert pairs(data) == {("a", "1"), ("a", "2"), ("b", "2")} and data.n_dropped == 2
    assert data.item_texts(("title", "author", "description")) == ["Glue by Acme. Strong glue", "Tape"]
    assert "not seconds" in data.notes[0] and data.timestamp.tolist() == [0, 1, 0]


def test_plain_files_with_dates_tags_and_repeated_events(tmp_path):
    events = (
        "user,item,timestamp,event\nu,q,2016-08-02T00:00:00.500,ask\nu,q,2016-08-03T00:00:00.000,comment\n"
    )
    items = "item,site,title,tags,body,timestamp\nq,ai,What?,deep-learning ethics,Why so?,2016-08-02\n"
    data = datasets.load("stackexchange", put(tmp_path, {"interactions.csv": events, "items.csv": items}))
    assert (data.n_interactions, data.n_merged) == (1, 1)
    assert data.timestamp.tolist() == [1470182400]  # the latest of the two events
    assert data.items["genres"].tolist() == ["deep-learning, ethics"]
    with pytest.raises(InputError, match=r"items\.csv: no column 'title'"):
        datasets.load("stackexchange", put(tmp_path, {"items.csv": "item,name\nq,What?\n"}))


def test_texts_of_citeulike_are_moved_to_the_paper_they_belong_to(tmp_path):
    events = "user,item\na,0\na,1\nb,1\nb,5\n"
    items = "item,title,abstract,first_posted,year\n1,First,x,2004-11-04,2004\n2,Second,y,2004-11-04,2004\n"
    data = datasets.load(
        "citeulike-a-abstracts", put(tmp_path, {"interactions.csv": events, "items.csv": items})
    )
    assert pairs(data) == {("a", "0"), ("a", "1"), ("b", "1")} and data.n_dropped == 1
    assert data.items["title"].tolist() == ["First", "Second"] and "moved by one" in data.notes[0]
    put(tmp_path, {"items.csv": "item,title\nx,First\n"})
    with pytest.raises(InputError, match="'x', expected a whole number"):
        datasets.load("citeulike-a-abstracts", tmp_path)


def test_citeulike_as_published(tmp_path):
    rows = "doc.id,title,citeulike.id,raw.title,raw.abstract\n1,x,5,A Small World,Nets are\u00a0small\n"
    rows += "2,y,6,Caf\xe9,\n"
    files = {"users.dat": "2 0 1\n1 1\n", "raw-data.csv": rows.encode("iso-8859-1")}
    data = datasets.load("citeulike-a", put(tmp_path, files))
    assert pairs(data) == {("0", "0"), ("0", "1"), ("1", "1")}
    assert data.items["title"].tolist() == ["A Small World", "Café"]
    assert data.items["description"].tolist() == ["Nets are small", ""]
    with pytest.raises(InputError, match=r"users\.dat row 2: says 2 papers and names 1"):
        datasets.load("citeulike-a", put(tmp_path, {"users.dat": "2 0 1\n2 1\n"}))
    with pytest.raises(InputError, match=r"users\.dat row 1: '2 0 x', expected whole numbers"):
        datasets.load("citeulike-a", put(tmp_path, {"users.dat": "2 0 x\n"}))


REVIEWS = {
    "amazon-2018:Office_Products": ("Office_Products_5.json.gz", "meta_Office_Products.json.gz"),
    "amazon-2023:Office_Products": ("Office_Products.jsonl.gz", "meta_Office_Products.jsonl.gz"),
}


def amazon(year):
    if year == "2018":
        review = {"reviewerID": "u", "asin": "b1", "overall": 5.0, "unixReviewTime": 1_500_000_000}
        product = {
            "asin": "b1",
            "title": "Glue &amp; Tape",
            "description": ["<b>Sticks</b>"],
            "brand": "by Acme",
            "feature": ["fast"],
            "category": ["Office", "Glue"],
            "imageURLHighRes": ["http://x/1.jpg"],
        }
        return review, product, product | {"asin": "b2", "title": "var aPageStart = getTime();"}
    review = {"user_id": "u", "parent_asin": "b1", "rating": 5.0, "timestamp": 1_500_000_000_000}
    product = {
        "parent_asin": "b1",
        "title": "Glue &amp; Tape",
        "description": ["<b>Sticks</b>"],
        "store": "Acme",
        "features": ["fast"],
        "categories": ["Office", "Glue"],
        "images": [{"large": "http://x/1.jpg"}],
    }
    return review, product, product | {"parent_asin": "b2", "title": ""}


@pytest.mark.parametrize("year", ["2018", "2023"])
def test_amazon_reviews_are_cleaned(tmp_path, year):
    review, product, scripted = amazon(year)
    user, item = ("reviewerID", "asin") if year == "2018" else ("user_id", "parent_asin")
    reviews = [review, review | {item: "b2", user: "v"}, review | {item: "gone"}, review | {user: None}]
    name = f"amazon-{year}:Office_Products"
    lines = ["\n".join(map(json.dumps, rows)) for rows in (reviews, [product, scripted, product])]
    folder = put(tmp_path, dict(zip(REVIEWS[name], lines, strict=True)))
    data = datasets.load(name, folder)
    assert pairs(data) == {("u", "b1"), ("v", "b2")} and data.n_dropped == 2
    assert data.items["title"].tolist() == ["Glue & Tape", ""]
    assert data.items["description"].tolist() == ["Sticks fast"] * 2
    assert data.items.loc[0, ["author", "genres", "image"]].tolist() == ["Acme", "Glue", "http://x/1.jpg"]
    assert set(data.timestamp.tolist()) == {1_500_000_000}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "the file is empty"),
        ("{}\n", "row 1: no field 'reviewerID'"),
        ('{"reviewerID": "u", "asin": "b1"}\n{"reviewerID"', "row 2: no JSON"),
        (b'{"reviewerID": "\xff"}', "not readable"),
    ],
)
def test_bad_amazon_files_are_refused(tmp_path, lines, said):
    product = json.dumps(amazon("2018")[1])
    files = {"Office_Products_5.json.gz": lines, "meta_Office_Products.json.gz": product}
    with pytest.raises(InputError, match=said):
        datasets.load("amazon-2018:Office_Products", put(tmp_path, files))


# ---------------------------------------------------------------- news, questions


NEWS = "N1\tsports\tgolf\tA win\tHe won.\thttp://x\t[]\t[]\nN2\tnews\tworld\tA vote\t\thttp://y\t[]\t[]\n"
BEHAVIOURS = "1\tU1\t11/11/2019 9:05:58 AM\tN2 N7\tN1-1 N2-0\n2\tU2\t11/12/2019 6:11:30 PM\t\tN2-1 N1-0\n"


def test_mind_keeps_clicks_with_times(tmp_path):
    data = datasets.load("mind-small", put(tmp_path, {"news.tsv": NEWS, "behaviors.tsv": BEHAVIOURS}))
    assert pairs(data) == {("U1", "N1"), ("U2", "N2")}
    assert data.timestamp.tolist() == [1573463158, 1573582290]
    assert data.items["genres"].tolist() == ["sports, golf", "news, world"]
    assert data.notes == ("2 earlier clicks without times were left out.",)
    with pytest.raises(InputError, match=r"news\.tsv row 1: 2 fields, expected 8"):
        datasets.load("mind-small", put(tmp_path, {"news.tsv": "N1\tsports\n"}))
    put(tmp_path, {"news.tsv": NEWS, "behaviors.tsv": "1\tU1\t2019\t\tN1-1\n"})
    with pytest.raises(InputError, match=r"behaviors\.tsv column time: '2019'"):
        datasets.load("mind-small", tmp_path)


POSTS = """<?xml version="1.0" encoding="utf-8"?><posts>
<row Id="1" PostTypeId="1" OwnerUserId="7" CreationDate="2016-08-02T15:39:14.947" Title="What is x?"
 Tags="&lt;ethics&gt;&lt;deep-learning&gt;"
 Body="&lt;p&gt;Is &lt;b&gt;x&lt;/b&gt; &amp;amp; y?&lt;/p&gt;&lt;pre&gt;code&lt;/pre&gt;" />
<row Id="2" PostTypeId="2" ParentId="1" OwnerUserId="8" CreationDate="2016-08-03T00:00:00.000" Body="x" />
<row Id="3" PostTypeId="2" ParentId="1" CreationDate="2016-08-03T00:00:00.000" Body="deleted user" />
</posts>"""
COMMENTS = '<comments><row Id="1" PostId="2" UserId="9" CreationDate="2016-08-04T00:00:00.000" /></comments>'
VOTES = (
    '<votes><row PostId="1" VoteTypeId="5" UserId="9" CreationDate="2016-08-05T00:00:00.000" />'
    '<row PostId="1" VoteTypeId="2" CreationDate="2016-08-05T00:00:00.000" /></votes>'
)


def test_a_dump_of_stack_exchange(tmp_path):
    files = {"Posts.xml": POSTS, "Comments.xml": COMMENTS, "Votes.xml": VOTES}
    data = datasets.load("stackexchange:ai", put(tmp_path, files))
    assert pairs(data) == {("7", "1"), ("8", "1"), ("9", "1")}
    assert (data.n_dropped, data.n_merged) == (1, 1)
    assert data.items["description"].tolist() == ["Is x & y?"]
    assert data.items["genres"].tolist() == ["ethics, deep-learning"]
    with pytest.raises(InputError, match=r"Posts\.xml: no XML"):
        datasets.load("stackexchange:ai", put(tmp_path, {"Posts.xml": POSTS[:200]}))
    put(tmp_path, {"Posts.xml": '<!DOCTYPE x [<!ENTITY a "aaaa">]><posts/>'})
    with pytest.raises(InputError, match="declares a document type"):
        datasets.load("stackexchange:ai", tmp_path)


# ---------------------------------------------------------------- RecBole, Hugging Face


def test_recbole_atomic_files(tmp_path):
    files = {
        "shop.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        "a\t1\t4\t100.0\nb\t2\t5\t200.0\n",
        "shop.item": "item_id:token\tmovie_title:token_seq\tclass:token_seq\trelease_year:token\n"
        "1\tOne day\tDrama War\t1999\n2\tTwo\t\t\n",
        "shop.user": "user_id:token\tage:token\nb\t30\na\t20\n",
    }
    data = datasets.from_recbole(put(tmp_path, files))
    assert pairs(data) == {("a", "1"), ("b", "2")} and data.timestamp.tolist() == [100, 200]
    assert data.item_texts() == ["One day (1999). Drama, War", "Two"]
    assert data.users["age"].tolist() == ["20", "30"]
    bad = {
        "shop.inter": "user_id\titem_id\na\t1\n",
        "more.inter": "user_id:token\tthing:token\na\t1\n",
        "text.inter": "user_id:token\titem_id:token\trating:float\na\t1\tgood\n",
    }
    folder = put(tmp_path / "bad", bad)
    for name, said in (
        ("shop", "'user_id' names no type"),
        ("more", "no column 'item_id'"),
        ("text", "row 2 column rating: 'good'"),
        ("none", "no such file"),
        ("", "3 files end"),
    ):
        with pytest.raises(InputError, match=said):
            datasets.from_recbole(folder, name)


class Rows:
    """Stands in for a table of the library ``datasets``."""

    def __init__(self, **columns):
        self.columns, self.column_names = columns, list(columns)

    def select_columns(self, names):
        return Rows(**{name: self.columns[name] for name in names})

    def to_pandas(self):
        return pd.DataFrame(self.columns)


def test_hugging_face_columns_are_named_by_the_user(monkeypatch):
    rows = Rows(who=["a", "a", None], what=[1, 2, 2], name=["One", "Two", "Two again"], more=["x", None, "y"])
    monkeypatch.setattr(hugging_face, "_load", lambda *_: rows)
    columns = {"user": "who", "item": "what", "title": "name"}
    data = datasets.from_hugging_face("owner/set", columns=columns, texts=["more"])
    assert pairs(data) == {("a", "1"), ("a", "2")} and data.n_dropped == 1
    assert data.items["title"].tolist() == ["One", "Two"] and data.items["more"].tolist() == ["x", ""]
    with pytest.raises(InputError, match="no column 'when'"):
        datasets.from_hugging_face("owner/set", columns=columns | {"timestamp": "when"})
    with pytest.raises(InputError, match="expected user, item and title"):
        datasets.from_hugging_face("owner/set", columns={"user": "who"})


def test_without_the_library_datasets_one_line_says_so(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match="pip install datasets"):
        datasets.from_hugging_face("owner/set", columns={"user": "a", "item": "b", "title": "c"})


# ---------------------------------------------------------------- where they lie


@pytest.mark.parametrize(
    "name",
    [*locations.TABLE, "amazon-2018:Office_Products", "amazon-2023:Office_Products", "stackexchange:ai"],
)
def test_every_data_set_has_an_address_and_a_hash_or_the_reason_for_none(name):
    one = locations.published(name)
    assert one.page.startswith("https://") and all(url.startswith("https://") for url in one.urls)
    assert bool(one.md5) != bool(one.unpinned), f"{name}: expected a hash or a reason, one of them"
    assert not one.md5 or (len(one.md5) == 32 and one.urls)


def test_a_data_set_is_found_in_the_folder_of_the_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(locations.VARIABLE, raising=False)
    with pytest.raises(InputError, match=r"fetch ml-25m --from FOLDER, or set RECSYS_DATA"):
        datasets.load("ml-25m")
    put(tmp_path / "data" / "ml-25m", {"ratings.csv": RATINGS, "movies.csv": MOVIES})
    monkeypatch.setenv(locations.VARIABLE, str(tmp_path / "data"))
    assert datasets.load("ml-25m").n_interactions == 3
    with pytest.raises(InputError, match=r"lacks movies\.csv"):
        datasets.load("ml-25m", put(tmp_path / "half", {"ratings.csv": RATINGS}))
    with pytest.raises(InputError, match=r"did you mean 'ml-25m'"):
        locations.published("ml-25n")
    with pytest.raises(InputError, match="is unknown"):
        locations.published("amazon-2023:../x")
    with pytest.raises(InputError, match="expected no folder"):
        datasets.load("articles", tmp_path)


def test_files_and_archives_are_brought_from_a_folder(tmp_path, monkeypatch):
    import zipfile

    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(locations.VARIABLE, raising=False)
    source = put(tmp_path / "s", {})
    with zipfile.ZipFile(source / "ml-32m.zip", "w") as packed:
        packed.writestr("ml-32m/ratings.csv", RATINGS)
        packed.writestr("ml-32m/movies.csv", MOVIES)
        packed.writestr("ml-32m/../../evil.csv", "x")
    folder = locations.bring("ml-32m", source)
    assert sorted(p.name for p in folder.iterdir()) == ["movies.csv", "ratings.csv"]
    assert datasets.load("ml-32m").n_interactions == 3
    put(source / "ml-25m", {"ratings.csv": RATINGS, "movies.csv": MOVIES})
    assert locations.bring("ml-25m", source).name == "ml-25m"
    with pytest.raises(InputError, match=r"lacks users\.dat, raw-data\.csv"):
        locations.bring("citeulike-a", source)
    assert not (tmp_path / "cache" / "datasets" / "citeulike-a").exists()
    (source / "ml-1m.zip").write_bytes(b"PK\x03\x04 damaged")
    with pytest.raises(
        InputError, match=r"ml-1m\.zip: MD5 .* publisher says c4d9eecfca2ab87c1945afe126590906"
    ):
        locations.bring("ml-1m", source)
    with pytest.raises(InputError, match="no direct address"):
        locations.bring("mind-small")


def test_fetch_takes_a_published_set_from_a_folder(tmp_path, monkeypatch, capsys):
    from recsys_lib.cli.app import main

    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(locations.VARIABLE, raising=False)
    source = put(tmp_path / "s", {"ratings.csv": RATINGS, "movies.csv": MOVIES})
    assert main(["fetch", "ml-latest-small", "--from", str(source)]) == 0
    said = capsys.readouterr().out
    assert "ml-latest-small" in said and "no hash compared: made anew from time to time" in said
    assert datasets.load("ml-latest-small").n_interactions == 3
    assert main(["fetch", "minilm", "--from", str(source)]) == 2
    assert main(["fetch", "ml-1m", "--from", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_no_network_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path))
    row = locations.Published("x", "plain", ("a.csv",), "page", "", ((tmp_path / "no.zip").as_uri(),))
    monkeypatch.setitem(locations.TABLE, "x", row)
    with pytest.raises(InputError, match=r"not reached .* pass --from FOLDER"):
        locations.bring("x")
