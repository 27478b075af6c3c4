"""Both data sets come out clean and with known counts; a reader's files are checked row by row."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import small

from recsys_lib.core.errors import InputError
from recsys_lib.data import datasets
from recsys_lib.data.assets import locate
from recsys_lib.data.datasets.book_crossing import repair_text
from recsys_lib.data.datasets.movielens import restore_article


@pytest.fixture(scope="module")
def films():
    return datasets.load("ml-100k")


@pytest.fixture(scope="module")
def books():
    return datasets.load("book-crossing")


def test_a_data_set_shows_itself_in_one_line(films):
    assert repr(films) == "<Dataset 'ml-100k': 943 users, 1,682 items, 100,000 interactions>"


def test_movielens_counts_and_repairs(films):
    assert (films.n_users, films.n_items, films.n_interactions) == (943, 1682, 100_000)
    assert films.items["id"].tolist() == [str(i) for i in range(1, 1683)]
    assert films.items["title"][266] == "unknown" and pd.isna(films.items["year"][266])
    assert films.items["title"][1411] == "Land Before Time III: The Time of the Great Giving"
    assert films.items["year"][1411] == 1995
    assert films.items["year"].isna().sum() == 1
    # 22 titles occur more than once, "That Darn Cat!" three times; 18 of the repetitions have the same year
    # too.
    times = films.items["title"].value_counts()
    assert (times > 1).sum() == 22 and times["That Darn Cat!"] == 3
    assert films.items["title"].duplicated().sum() == 23
    assert films.items.duplicated(["title", "year"]).sum() == 18
    assert set(np.unique(films.rating)) == {1, 2, 3, 4, 5}
    assert films.matrix().nnz == 100_000
    assert films.matrix(min_rating=4).nnz == int((films.rating >= 4).sum())


def raw_titles():
    frame = pd.read_csv(locate("ml-100k") / "ml-100k.item", sep="\t", dtype=str, keep_default_na=False)
    return frame.sort_values("item_id:token", key=lambda ids: ids.astype(int))[
        "movie_title:token_seq"
    ].tolist()


def test_every_trailing_word_of_the_raw_titles_is_accounted_for(films):
    raw = raw_titles()
    # The only comma and last word that are no article: a place, a name, half of a pair, a phrase.
    ends = {title for title in raw if re.search(r", [\w']+$", title) and restore_article(title) == title}
    assert ends == {"Paris, Texas", "Corrina, Corrina", "Kiss Me, Guido", "Bye Bye, Love", "Paris, France",
                    "Niagara, Niagara"}  # fmt: skip
    assert sum(restore_article(title) != title for title in raw) == 389
    assert not films.items["title"].str.contains(r", [\w']+(?:\)| \()").any()
    assert pd.Series(raw).duplicated().sum() == 23  # no title becomes equal to another by its article
    assert raw[266] == "unkonwn" and raw[1411].endswith("(1995)")


def test_movielens_texts(films):
    texts = films.item_texts()
    assert texts[0] == "Toy Story (1995). Animation, Children's, Comedy"
    assert texts[11] == "The Usual Suspects (1995). Crime, Thriller"
    assert texts[266] == "unknown"
    assert films.item_texts(("year", "title"))[0] == "Toy Story (1995)"
    assert films.item_texts(("genres",))[1] == "Action, Adventure, Thriller"
    assert "" in films.item_texts(("genres",))
    assert (
        films.item_texts(("title", "genres"))[229 - 1].count(". ")
        == films.items["title"][228].count(". ") + 1
    )
    attacks = films.items.index[films.items["title"] == "Mars Attacks!"][0]
    assert films.item_texts(("title", "genres"))[attacks] == "Mars Attacks! Action, Comedy, Sci-Fi, War"
    with pytest.raises(InputError, match="field 'plot': the items of 'ml-100k' have id, title, year, genres"):
        films.item_texts(("plot",))
    with pytest.raises(InputError, match="field 'generes'"):  # not passed over beside a good one
        films.item_texts(("title", "generes"))
    with pytest.raises(InputError, match="fields \\('author',\\)"):
        films.item_texts(("author",))
    with pytest.raises(InputError, match="fields \\(\\)"):
        films.item_texts(())


def test_missing_values_leave_no_punctuation_behind():
    items = pd.DataFrame({
        "id": list("abcde"), "title": ["Emma", "", "Why?", "", "Emma"],
        "author": ["Jane Austen", "Homer", "", "", ""],
        "year": pd.array([1997, None, None, 1999, None], dtype="Int64"),
        "genres": ["", "Epic", "Drama", "", "Love, War"],
    })  # fmt: skip
    data = dataclasses.replace(small([0], [0], n_items=5), items=items)
    assert data.item_texts() == [
        "Emma by Jane Austen (1997)",
        "Homer. Epic",
        "Why? Drama",
        "1999",
        "Emma. Love, War",
    ]
    assert data.item_texts(("genres",)) == ["", "Epic", "Drama", "", "Love, War"]


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
    assert (
        films.items["title"].str.contains(r", (?:The|A|An|La|Le|Les|Il|El|Der|Die|Das|Det)(?:$|\))").sum()
        == 0
    )


def test_book_crossing_counts(books):
    assert books.n_interactions == 1_031_178
    assert np.isnan(books.rating).mean() == pytest.approx(0.62775, abs=1e-5)
    assert np.nanmin(books.rating) == 1 and np.nanmax(books.rating) == 10
    assert books.timestamp is None
    assert (books.n_users, books.n_items) == (92_107, 269_862)
    assert books.n_interactions + books.n_dropped == 1_149_780
    assert books.matrix().nnz == books.n_interactions  # no user has a book twice
    assert books.matrix(min_rating=0).nnz == np.isfinite(books.rating).sum() == 383_853


@pytest.mark.parametrize(("k", "counts"), [(5, (565_080, 15_233, 36_055)), (10, (366_110, 6_607, 13_231)),
                                           (20, (195_611, 2_560, 4_276))])  # fmt: skip
def test_book_crossing_cores(books, k, counts):
    core = books.k_core(k)
    assert (core.n_interactions, core.n_users, core.n_items) == counts
    assert np.bincount(core.user).min() >= k and np.bincount(core.item).min() >= k


@pytest.mark.parametrize(("k", "counts"), [(5, (564_730, 15_223, 36_041)), (10, (365_894, 6_605, 13_228)),
                                           (20, (195_445, 2_559, 4_273))])  # fmt: skip
def test_cores_of_the_raw_rows(raw_books, k, counts):
    """As counted outside this library, with ISBNs compared letter by letter:
    case makes the difference to the above.
    """
    core = raw_books.k_core(k)
    assert (core.n_interactions, core.n_users, core.n_items) == counts


@pytest.fixture(scope="module")
def raw_books():
    options = {
        "sep": ";",
        "encoding": "iso-8859-1",
        "dtype": str,
        "keep_default_na": False,
        "escapechar": "\\",
    }
    books = pd.read_csv(locate("book-crossing") / "BX-Books.csv", usecols=[0], **options)
    events = pd.read_csv(locate("book-crossing") / "BX-Book-Ratings.csv", **options)
    events = events[events["ISBN"].isin(set(books["ISBN"]))]
    return small(pd.factorize(events["User-ID"])[0], pd.factorize(events["ISBN"])[0])


def test_book_crossing_texts_are_clean(books):
    titles = books.items["title"]
    for column in ("title", "author", "publisher"):
        assert not books.items[column].str.contains("[ÃÂ]\\?|âÂ|[\\x80-\\x9f\ufffd]|^ | $|  ").any()
    assert not titles.str.contains("Ã").any()
    assert "Not Applicable (Na )" not in set(books.items["author"])
    assert (books.items["author"] == "").sum() == 286
    assert titles.str.count("ß").sum() == 395  # of 589 letters lost in titles; the file has no ß
    assert not titles.str.contains(r"&(?:amp|quot|lt|gt|#\d+);").any()
    assert titles.str.contains("ö").sum() > 500
    assert books.items["year"].dropna().between(1376, 2005).all()
    assert not books.items["id"].duplicated().any()
    i = titles[titles == "Gödel, Escher, Bach: An Eternal Golden Braid"].index[0]
    assert books.item_texts(("title", "author"))[i] == f"{titles[i]} by Douglas R. Hofstadter"
    assert books.item_texts()[i] == f"{titles[i]} by Douglas R. Hofstadter (1999)"


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        ("KÃ?Â¶nig", "König"),
        ("SchÃ?Â¶nschreibÃ?Â¼bungen", "Schönschreibübungen"),
        ("Parque JurÃ¡sico", "Parque Jurásico"),
        ("fÃ¼nf", "fünf"),
        ("GroÃ?Â?e FÃ?Â¼Ã?Â?e", "Große Füße"),  # a capital does not stand inside a word
        ("StraÃ?e, weiÃ?Â?, FluÃ?Â?.", "Straße, weiß, Fluß."),
        ("toiÃ?Â? cÃ?Â?ur MamanÃ?Â?", "toi? c?ur Maman?"),  # not ß: neither its place nor its vowel
        ("Ã?Â?ber Ã?gypten, Ã?ditions", "?ber ?gypten, ?ditions"),  # one of many capitals
        ("FronaÂ?Â?Â?Â? Lewis", "Frona  Lewis"),
        ("YouâÂ?Â?ll, IsnÂ?t", "You’ll, Isn?t"),
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


@settings(deadline=None, derandomize=True)
@given(pairs, st.integers(1, 4), st.integers(1, 4))
def test_k_core_against_a_naive_loop(chosen, k, k_items):
    rows = sorted(chosen)
    data = small([u for u, _ in rows], [i for _, i in rows])
    left = set(rows)
    while True:
        users, items = [u for u, _ in left], [i for _, i in left]
        keep = {(u, i) for u, i in left if users.count(u) >= k and items.count(i) >= k_items}
        if keep == left:
            break
        left = keep
    if not left:
        with pytest.raises(InputError, match=f"k={k}, k_items={k_items}"):
            data.k_core(k, k_items)
        return
    core = data.k_core(k, k_items)
    found = {(core.users["id"][u], core.items["id"][i]) for u, i in zip(core.user, core.item, strict=True)}
    assert found == {(f"u{u}", f"i{i}") for u, i in left}
    assert core.n_users == len({u for u, _ in left}) and core.n_items == len({i for _, i in left})


def test_implicit_interactions_are_not_ratings():
    data = small([0, 0, 1], [0, 1, 0], [np.nan, 5, 3])
    assert data.matrix().nnz == 3
    assert data.matrix(min_rating=0).nnz == 2
    assert data.matrix(rows=np.array([0])).toarray().tolist() == [[1, 0], [0, 0]]


def test_rows_are_places_or_a_mask():
    data = small([0, 0, 1], [0, 1, 0])
    mask = np.array([False, True, True])
    assert (
        data.matrix(mask).toarray().tolist()
        == data.matrix(np.array([1, 2])).toarray().tolist()
        == [[0, 1], [1, 0]]
    )
    part = data.select(np.array([1]))
    assert (part.n_users, part.n_items, part.items["id"].tolist(), part.item.tolist()) == (1, 1, ["i1"], [0])
    nothing = data.select([])
    assert (nothing.n_interactions, nothing.n_users, nothing.n_items, nothing.matrix().shape) == (
        0,
        0,
        0,
        (0, 0),
    )
    for k in (0, 2.5, "a"):
        with pytest.raises(InputError, match="whole numbers of at least 1"):
            data.k_core(k)


def test_unknown_data_set():
    with pytest.raises(InputError, match="'ml-3m' is unknown: choose from ml-100k, book-crossing"):
        datasets.load("ml-3m")
