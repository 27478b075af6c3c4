"""Both data sets come out clean and with known counts; a reader's files are checked row by row."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_lib import datasets
from recsys_lib.datasets import Dataset
from recsys_lib.datasets.book_crossing import repair_text
from recsys_lib.datasets.movielens import restore_article
from recsys_lib.errors import InputError


@pytest.fixture(scope="module")
def films():
    return datasets.load("ml-100k")


@pytest.fixture(scope="module")
def books():
    return datasets.load("book-crossing")


def small(user, item, rating=None, n_items=None):
    user, item = np.asarray(user, np.int32), np.asarray(item, np.int32)
    n_items = n_items or (item.max() + 1 if len(item) else 1)
    rating = np.full(len(user), np.nan, np.float32) if rating is None else np.asarray(rating, np.float32)
    items = pd.DataFrame({"id": [f"i{i}" for i in range(n_items)], "title": [f"Title {i}" for i in range(n_items)]})
    users = pd.DataFrame({"id": [f"u{u}" for u in range(user.max() + 1 if len(user) else 1)]})
    return Dataset("small", user, item, rating, None, items, users)


def test_movielens_counts_and_repairs(films):
    assert (films.n_users, films.n_items, films.n_interactions) == (943, 1682, 100_000)
    assert films.items["id"].tolist() == [str(i) for i in range(1, 1683)]
    assert films.items["title"][266] == "unknown" and pd.isna(films.items["year"][266])
    assert films.items["title"][1411] == "Land Before Time III: The Time of the Great Giving"
    assert films.items["year"][1411] == 1995
    assert films.items["year"].isna().sum() == 1
    # 22 titles twice; restoring articles makes one more pair equal.
    assert films.items["title"].duplicated().sum() == 23
    assert set(np.unique(films.rating)) == {1, 2, 3, 4, 5}
    assert films.matrix().nnz == 100_000
    assert films.matrix(min_rating=4).nnz == int((films.rating >= 4).sum())


def test_movielens_texts(films):
    texts = films.item_texts()
    assert texts[0] == "Toy Story (1995). Animation, Children's, Comedy"
    assert texts[11] == "The Usual Suspects (1995). Crime, Thriller"
    assert texts[266] == "unknown"
    assert films.item_texts(("year", "title"))[0] == "Toy Story (1995)"
    assert films.item_texts(("genres",))[1] == "Action, Adventure, Thriller"
    assert "" in films.item_texts(("genres",))
    with pytest.raises(InputError, match="have id, title, year, genres"):
        films.item_texts(("plot",))


@pytest.mark.parametrize(
    ("title", "restored"),
    [
        ("Postino, Il", "Il Postino"),
        ("Misérables, Les", "Les Misérables"),
        ("Enfer, L'", "L'Enfer"),
        ("American in Paris, An", "An American in Paris"),
        ("Blue Angel, The (Blaue Engel, Der)", "The Blue Angel (Der Blaue Engel)"),
        ("Wooden Man's Bride, The (Wu Kui)", "The Wooden Man's Bride (Wu Kui)"),
        ("I, Worst of All (Yo, la peor de todas)", "I, Worst of All (Yo, la peor de todas)"),
        ("Paris, Texas", "Paris, Texas"),
        ("Heat", "Heat"),
    ],
)
def test_articles_return_to_their_place(title, restored):
    assert restore_article(title) == restored


def test_no_article_is_left_behind(films):
    assert films.items["title"].str.contains(r", (?:The|A|An|La|Le|Les|Il|El|Der|Die|Das|Det)(?:$|\))").sum() == 0


def test_book_crossing_counts(books):
    assert books.n_interactions == 1_031_178
    assert np.isnan(books.rating).mean() == pytest.approx(0.62775, abs=1e-5)
    assert np.nanmin(books.rating) == 1 and np.nanmax(books.rating) == 10
    assert books.timestamp is None
    core = books.k_core(10)
    assert (core.n_interactions, core.n_users, core.n_items) == (366_110, 6_607, 13_231)
    assert np.bincount(core.user).min() >= 10 and np.bincount(core.item).min() >= 10


def test_book_crossing_texts_are_clean(books):
    titles = books.items["title"]
    assert not titles.str.contains("Ã").any()
    assert not titles.str.contains(r"&(?:amp|quot|lt|gt|#\d+);").any()
    assert titles.str.contains("ö").sum() > 500
    assert books.items["year"].dropna().between(1376, 2005).all()
    assert not books.items["id"].duplicated().any()
    i = titles[titles == "Gödel, Escher, Bach: An Eternal Golden Braid"].index[0]
    assert (
        books.item_texts(("title", "author"))[i]
        == "Gödel, Escher, Bach: An Eternal Golden Braid by Douglas R. Hofstadter"
    )


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        ("KÃ?Â¶nig", "König"),
        ("SchÃ?Â¶nschreibÃ?Â¼bungen", "Schönschreibübungen"),
        ("Parque JurÃ¡sico", "Parque Jurásico"),
        ("fÃ¼nf", "fünf"),
        ("GroÃ?Â?e", "Gro?e"),
        ("My Ã?ntonia", "My ?ntonia"),
        ("Tom &amp; Jerry &quot;X&quot;", 'Tom & Jerry "X"'),
        ("A &amp;#160;B", "A \xa0B"),
        ("Café", "Café"),
        ("plain", "plain"),
        ("", ""),
    ],
)
def test_double_encoded_text(broken, mended):
    assert repair_text(broken) == mended


pairs = st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=40)


@settings(deadline=None)
@given(pairs, st.integers(1, 4))
def test_k_core_against_a_naive_loop(chosen, k):
    rows = sorted(chosen)
    data = small([u for u, _ in rows], [i for _, i in rows])
    left = set(rows)
    while True:
        users, items = [u for u, _ in left], [i for _, i in left]
        keep = {(u, i) for u, i in left if users.count(u) >= k and items.count(i) >= k}
        if keep == left:
            break
        left = keep
    if not left:
        with pytest.raises(InputError, match=f"k={k}"):
            data.k_core(k)
        return
    core = data.k_core(k)
    found = {(core.users["id"][u], core.items["id"][i]) for u, i in zip(core.user, core.item, strict=True)}
    assert found == {(f"u{u}", f"i{i}") for u, i in left}
    assert core.n_users == len({u for u, _ in left}) and core.n_items == len({i for _, i in left})


def test_implicit_interactions_are_not_ratings():
    data = small([0, 0, 1], [0, 1, 0], [np.nan, 5, 3])
    assert data.matrix().nnz == 3
    assert data.matrix(min_rating=0).nnz == 2
    assert data.matrix(rows=np.array([0])).toarray().tolist() == [[1, 0], [0, 0]]


def test_unknown_data_set():
    with pytest.raises(InputError, match="'ml-1m' is unknown: choose from ml-100k, book-crossing"):
        datasets.load("ml-1m")


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
    semicolons = read("\ufeffkunde;isbn\n1;007\n", ITEMS.replace(",", ";"), separator=";", columns={"user": "kunde"})
    assert semicolons.n_interactions == 1 and semicolons.timestamp is None and np.isnan(semicolons.rating).all()
    dates = read("user,item,date\na,007,2004-03-31 17:05\nb,b,2004-04-01\n")
    assert dates.timestamp.tolist() == [1080752700, 1080777600]
    merged = read("user,item\na,007\na,007\na,b\n")
    assert merged.n_interactions == 2
    people = read(users="id,age\nanna,30\n李雷,40\n")
    assert people.users["age"].tolist() == ["30", "40"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"events": ""}, "events.csv: the file is empty"),
        ({"events": "user,item\n"}, "events.csv: a header and no rows"),
        ({"events": "item\nb\n"}, "events.csv: no column for 'user'"),
        ({"items": "id,name2\nb,x\n"}, "items.csv: no column for 'title'"),
        ({"events": "user,item\na,b\na,zz\n"}, "events.csv row 3 column item: 'zz', want an id of items.csv"),
        ({"events": "user,item\n,b\n"}, "events.csv row 2 column user: '', want an id"),
        ({"events": "user,item,rating\na,b,good\n"}, "events.csv row 2 column rating: 'good', want a number"),
        ({"events": "user,item,rating\na,b,inf\n"}, "column rating: 'inf'"),
        ({"events": "user,item,timestamp\na,b,100\na,007,soon\nc,b,3\n"}, "row 3 column timestamp: 'soon', want seconds"),
        ({"events": "user,item,timestamp\na,b,yesterdayish\n"}, "row 2 column timestamp"),
        ({"events": "user,item,rating\na,b,1\na,b,2\n"}, "row 3 column user × item: 'a × b', want each pair once"),
        ({"events": "user,item\na,b\na,b,c,d\n"}, "events.csv: .*want the same columns in every row"),
        ({"items": "id,title\nb,x\nb,y\n007,z\n"}, "items.csv row 3 column id: 'b', want each id once"),
        ({"items": "id,title,year\nb,x,MCM\n007,z,\n"}, "items.csv row 2 column year: 'MCM', want a year or nothing"),
        ({"users": "id\nanna\n"}, "events.csv row 4 column user: '李雷', want an id of the users file"),
        ({"items": ITEMS.replace("中文书", "é").encode("iso-8859-1")}, r"items.csv row \d: byte 0x.. is not utf-8"),
        ({"columns": {"uesr": "x"}}, r"columns=\['uesr'\]"),
        ({"columns": {"user": "kunde"}}, "looked for kunde"),
    ],
)  # fmt: skip
def test_a_mistake_in_own_files_is_named(read, change, message):
    with pytest.raises(InputError, match=message) as caught:
        read(**change)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv: no such file"):
        datasets.from_csv(tmp_path / "none.csv", tmp_path / "none.csv")
