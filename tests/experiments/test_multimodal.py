"""The study of kinds: conditions differ in one thing, a kind that matters is found, one that does not is
not.
"""

import numpy as np
import pandas as pd
import pytest

from recsys_lib.core import records
from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets import Dataset, knowledge
from recsys_lib.experiments.multimodal import blocks, costs, joining_methods, knockout, multimodal_study
from recsys_lib.experiments.multimodal.blocks import Items, films, genres_shared
from recsys_lib.reporting.figures import multimodal as figures
from recsys_lib.reporting.figures import multimodal_costs
from recsys_lib.vectors import similarity


@pytest.fixture(scope="module")
def items():
    """Users like the items along a direction of their own; ``text`` shows half of it, ``graph`` the other
    half (a third of the items lacks it), and ``metadata`` is noise.
    """
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((90, 8)).astype(np.float32)
    liked = similarity.top_k(rng.standard_normal((120, 8)).astype(np.float32), hidden, 20)[0]
    table = pd.DataFrame({"id": [str(i) for i in range(90)], "title": [f"T{i}" for i in range(90)]})
    users = pd.DataFrame({"id": [str(u) for u in range(120)]})
    user = np.repeat(np.arange(120, dtype=np.int32), 20)
    ratings = np.full(len(user), np.nan, np.float32)
    data = Dataset("toy", user, liked.ravel().astype(np.int32), ratings, None, table, users)
    graph = hidden[:, 4:].copy()
    graph[::3] = 0
    blocks = {"text": hidden[:, :4] + 2, "graph": graph, "metadata": rng.standard_normal((90, 5))}
    return Items(data, {name: block.astype(np.float32) for name, block in blocks.items()})


def test_conditions_differ_in_one_kind():
    named = knockout.conditions(["text", "graph", "image", "title"])
    assert named["all"] == ("text", "graph", "image")
    assert named["all without graph"] == ("text", "image")
    assert named["all, image shuffled"] == ("text", "graph", "image*")
    assert named["title, image shuffled"] == ("title", "image*")
    asked = knockout.questions(list(named))
    assert asked["image added to the rest"] == ("all", "all without image")
    assert asked["image against shuffled, beside the title"] == ("title and image", "title, image shuffled")
    assert {name for pair in asked.values() for name in pair} <= set(named)


def test_controls_take_part_only_in_conditions_of_their_own():
    named = knockout.conditions(["text", "graph", "metadata", "distributed", "unawarded"])
    assert named["all"] == ("text", "graph", "metadata")
    assert named["all, graph as distributed"] == ("text", "distributed", "metadata")
    assert named["all, graph without awards"] == ("text", "unawarded", "metadata")
    asked = knockout.questions(list(named))
    assert sum(question.endswith("against shuffled") for question in asked) == 3
    assert asked["graph without awards, added to the rest"] == (
        "all, graph without awards",
        "all without graph",
    )
    assert "all without distributed" not in named


@pytest.fixture(scope="module")
def recorded(items):
    named, found, chosen = knockout.conditions(list(items.blocks)), {}, {}
    for seed in range(2):
        for name, (result, point) in knockout.cold(items, named, seed, 6, lambda text: None).items():
            found.setdefault(name, []).append(result)
            chosen.setdefault(name, []).append(point)
    return multimodal_study._about(items) | multimodal_study.summary(found, knockout.questions, chosen)


def test_kinds_that_say_something_add_and_noise_does_not(recorded):
    ndcg, table = recorded["ndcg"], figures.kinds(figures.answers(recorded))
    assert ndcg["all"] > ndcg["text"] > ndcg["metadata"] and ndcg["all"] > ndcg["graph"]
    assert table.loc["text", "adds"] and table.loc["graph", "adds"] and not table.loc["metadata", "adds"]
    assert figures.finding(table) == "text and graph add, metadata is not shown to"
    assert recorded["present"] == {"text": 90, "graph": 60, "metadata": 90}
    assert recorded["size"]["items"] == 90


def test_a_kind_adds_only_above_what_a_shuffled_one_added(recorded):
    least, most = figures.by_chance({"toy": recorded})
    ndcg, table = recorded["ndcg"], figures.answers(recorded)
    added = [ndcg[f"all, {k} shuffled"] - ndcg[f"all without {k}"] for k in recorded["present"]]
    assert most == max(0.0, *added) and least == min(0.0, *added)
    graph = float(figures.kinds(table).loc["graph", "added"])
    assert figures.kinds(table, graph - 1e-6).loc["graph", "adds"]
    assert not figures.kinds(table, graph).loc["graph", "adds"]
    named = {"ndcg": ndcg | {figures.DISTRIBUTED: ndcg["all without graph"] + 0.5}}
    assert figures.by_chance({"toy": recorded | named})[1] == pytest.approx(0.5)


def test_the_graph_without_awards_comes_first(recorded, tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_FIGURES", str(tmp_path))
    own = recorded | {"answers": [*recorded["answers"], _row(figures.UNAWARDED, 0.02, 0.01, 0.03, "better")]}
    title = figures.knockout({"toy": own}).axes[0].get_title("left").replace("\n", " ")
    assert title.startswith("toy: the graph without awards adds 0.020, with them ")
    text = figures.takeaways([{"parameters": {"part": "cold: toy"}, "metrics": own}], figures.answers(own))
    first = text.splitlines()[1]
    assert "which a new film lacks: +0.020 (+0.010 to +0.030), better" in first and "With them +" in first


def test_ranks_are_written_for_reading():
    found = {"mrr": 0.1694, "hits@10": 0.2631, "random mrr": 0.000315, "triples": 3627.0}
    shown = figures.ranks(pd.DataFrame({"transe": found}).T).loc["transe"].tolist()
    assert shown == ["0.169", "0.263", "0.0003", "3,627"]


def test_the_record_holds_every_users_value(recorded):
    for name, values in recorded["per_user"].items():
        assert len(values) == len(recorded["users"])
        assert np.mean(values) == pytest.approx(recorded["ndcg"][name], abs=1e-4)
    again = multimodal_study.tested(recorded["users"], recorded["per_user"], knockout.questions, 0.01)
    assert again == {"answers": recorded["answers"], "gained": recorded["gained"]}
    assert recorded["parameters"]["all"][0]["share of metadata"] in knockout.SHARES


def test_every_method_joins_the_kinds(items, monkeypatch):
    monkeypatch.setattr(joining_methods, "GATED_SPACE", {"epochs": [4], "output": [8]})
    monkeypatch.setattr(joining_methods, "DIMENSIONS", [4, 8])
    found = joining_methods.compare(items, 0, 3)
    ndcg = {name: result.mean()["ndcg"] for name, (result, _) in found.items()}
    assert next(iter(ndcg)) == joining_methods.FIRST and len(ndcg) == 7
    assert ndcg["centred blocks, product of kernels"] > ndcg[joining_methods.FIRST]
    asked = joining_methods.questions(list(ndcg))
    assert len(asked) == 6 and all(base == joining_methods.FIRST for _, base in asked.values())


def test_every_kind_of_the_warm_knockout_has_its_null(items):
    found = {name: [result] for name, result in knockout.warm(items, 0, 2).items()}
    summary = multimodal_study.summary(found, knockout.warm_questions)
    kinds = ("text", "graph", "metadata", "all")
    assert set(summary["ndcg"]) == {"EASE"} | {f"EASE and {k}{s}" for k in kinds for s in ("", " shuffled")}
    asked = knockout.warm_questions(list(summary["ndcg"]))
    assert asked["text against shuffled"] == ("EASE and text", "EASE and text shuffled")
    assert len(asked) == 12 and "text shuffled against shuffled" not in asked
    table = figures.warm_kinds(summary)
    assert list(table.index) == list(kinds) and table["its answer"].notna().all()
    null = summary["ndcg"]["EASE and text shuffled"] - summary["ndcg"]["EASE"]
    assert table.loc["text", "shuffled gained"] == pytest.approx(null, abs=1e-4)


def test_a_warm_kind_adds_only_over_its_null():
    rows = [
        _row("text added to EASE", 0.02, 0.01, 0.03, "better"),
        _row("tags added to EASE", 0.02, 0.01, 0.03, "better"),
        _row("image added to EASE", 0.0, -0.01, 0.01, "not decided"),
        _row("text shuffled added to EASE", -0.004, -0.01, 0.0, "worse"),
        _row("tags shuffled added to EASE", 0.019, 0.01, 0.03, "better"),
        _row("text against shuffled", 0.024, 0.01, 0.03, "better"),
        _row("tags against shuffled", 0.001, -0.01, 0.01, "not decided"),
    ]
    table = figures.warm_kinds({"answers": rows})
    assert figures.adds_warm(table) == ["text"]
    said = figures._warm_line("toy", {"answers": rows, "ndcg": {"EASE": 0.4}})
    assert said == (
        "* **Warm items, toy**: text adds to EASE's 0.400, by at most +0.020; shuffled kinds change it by "
        "-0.004 to +0.019."
    )
    assert figures.adds_warm(figures.warm_kinds({"answers": rows[:3]})) == ["text", "tags"]


# ---------------------------------------------------------------- prices and categories


def priced(prices, genres=None):
    table = pd.DataFrame({"id": [str(i) for i in range(len(prices))], "title": "x", "price": prices})
    if genres:
        table["genres"] = genres
    none = np.empty(0, np.int32)
    return Dataset("d", none, none, none.astype(np.float32), None, table, pd.DataFrame({"id": []}))


def test_prices_are_bumps_along_their_logarithm_and_missing_ones_zeros():
    block = blocks.price(priced(["$1.00", "$2", "4", "", "free", "$1,024.00", "$1 - $2", "0"]))
    assert block.shape == (8, 2 * len(blocks.SCALE)) and block.dtype == np.float32
    assert block.any(axis=1).tolist() == [True, True, True, False, False, True, False, False]
    unit = similarity.normalize(block)
    cosines = unit @ unit.T
    # A ratio of prices counts, not a difference: 1 is to 2 as 2 is to 4, and 1,024 is far from all.
    assert cosines[0, 1] == pytest.approx(cosines[1, 2], abs=0.02) and cosines[0, 1] > cosines[0, 5] + 0.5


def test_the_second_half_of_a_price_is_within_its_category():
    wine_and_gum = priced([10.0, 20.0, 1.0, 2.0], ["Wine", "Wine", "Gum", "Gum"])
    halves = np.split(blocks.price(wine_and_gum), 2, axis=1)
    assert halves[1][0] == pytest.approx(halves[1][2], abs=1e-6)  # the cheap wine is to wine as the cheap gum
    assert not np.allclose(halves[0][0], halves[0][2], atol=0.1)
    assert np.allclose(*np.split(blocks.price(priced([1.0, 2.0, 4.0])), 2, axis=1))
    assert not blocks.price(priced(["", ""])).any()


def test_the_price_is_asked_beside_the_text_alone():
    named = knockout.conditions(["text", "categories", "price"])
    assert named["text and price"] == named["all without categories"] == ("text", "price")
    assert named["text, price shuffled"] == ("text", "price*")
    asked = knockout.questions(list(named))
    assert asked["price added to the text"] == ("text and price", "text")
    assert asked["price against shuffled, beside the text"] == ("text and price", "text, price shuffled")
    assert "text and price" not in knockout.conditions(["price", "categories"])


def test_of_two_kinds_both_are_asked_and_what_is_the_same_is_done_once(items):
    named = knockout.conditions(["text", "graph"])
    lines = []
    found = knockout.cold(items, named, 0, 2, lines.append)
    assert found["all without text"] is found["graph"] and len(found) == 7 and len(lines) == 5
    asked = knockout.questions(list(named))
    assert asked["graph added to the rest"] == ("all", "all without graph")


def test_the_groceries_have_text_categories_and_price(monkeypatch):
    table = pd.DataFrame(
        {
            "id": ["1", "2"],
            "title": ["ICE", "GUM"],
            "author": ["Private", "National"],
            "genres": ["FROZEN, GROCERY", "CANDY, DRUG GM"],
            "price": [2.0, np.nan],
            "description": ["cold", ""],
        }
    )
    none = np.empty(0, np.int32)
    data = Dataset("shop", none, none, none.astype(np.float32), None, table, pd.DataFrame({"id": []}))
    monkeypatch.setattr(blocks, "groceries_data", lambda least: data)
    made = blocks.groceries("tfidf").blocks
    assert list(made) == ["text", "categories", "price"]
    assert made["price"].any(axis=1).tolist() == [True, False]
    assert made["categories"].shape == (2, 6)  # two categories, two departments, two kinds of brand
    monkeypatch.setattr(blocks.datasets, "load", lambda name: data)
    monkeypatch.setattr(Dataset, "k_core", lambda self, *least: self)
    assert list(blocks.office_products("tfidf").blocks) == ["text", "brand"]


# ---------------------------------------------------------------- links and films


def test_films_are_found_in_another_numbering_by_title_and_year():
    def data(rows):
        table = pd.DataFrame(rows, columns=["id", "title", "year"]).astype({"year": "Int64"})
        none = np.empty(0, np.int32)
        return Dataset("d", none, none, none.astype(np.float32), None, table, pd.DataFrame({"id": []}))

    ours = data([("1", "Amélie (Le fabuleux destin)", 2001), ("2", "Heat", 1995), ("3", "Heat", None)])
    theirs = data([("70", "Amelie", 2001), ("6", "Heat", 1995), ("7", "Heat", 1986)])
    assert knowledge.same_films(ours, theirs) == ["70", "6", ""]


def test_links_as_distributed_are_no_better_than_chance():
    from recsys_lib.data import datasets

    shared = genres_shared(datasets.load("ml-100k"), "distributed")
    assert shared["films linked"] > 1500
    assert shared["nearest"] == pytest.approx(shared["random"], abs=0.02)


def test_a_relation_can_be_left_out():
    graph = knowledge.load_knowledge([str(i) for i in range(1, 1683)])
    left = graph.without(knowledge.AWARDS)
    assert len(graph.triples) - len(left.triples) == 6347 + 2501
    with pytest.raises(InputError, match="relation 'x'"):
        graph.without(["x"])


def test_other_links_are_refused():
    with pytest.raises(InputError, match="links='x'"):
        films(links="x")


# ---------------------------------------------------------------- the record


def test_the_study_goes_on_where_it_was_and_names_what_it_leaves_out(monkeypatch, tmp_path, capsys):
    done = []

    def part(name):
        done.append(name)
        if name == "absent":
            raise InputError("no pictures here")
        return {"ndcg": {"all": 0.5}}

    parts = {name: (part, {"name": name}) for name in ("b", "absent", "a")}
    monkeypatch.setattr(multimodal_study, "_parts", lambda: parts)
    path = tmp_path / "multimodal-study.json"
    multimodal_study.run(path, ["a"])
    multimodal_study.run(path)
    multimodal_study.run(path)
    assert done == ["a", "b", "absent", "absent"]
    assert [r["parameters"]["part"] for r in records.read(path)] == ["a", "b"]
    assert "absent: left out: no pictures here" in capsys.readouterr().out


def test_costs_are_of_an_item_and_name_where_a_kind_adds(recorded, tmp_path):
    cost = {"cpu_seconds_per_item": 0.01, "model_mb": 90.0, "mb_per_1000_items": 1.5}
    written = {"written": 12.0, "tagged": 30.0, "taggers": 5.0}
    table = multimodal_costs.costs(
        {"found": {"text": cost, "metadata": cost, "tags": cost | written}}, {"toy": recorded}
    )
    gained = figures.kinds(figures.answers(recorded)).loc["text", "added"]
    assert table.loc["text", "cold: core ms per 0.01"] == pytest.approx(10 * 0.01 / gained)
    assert table.loc["metadata", "cold: adds most in"] == "nowhere"
    assert np.isnan(table.loc["metadata", "cold: MB per 0.01"])
    # Nothing was measured of warm items here.
    assert (table["warm: adds most in"] == "nowhere").all()
    assert table.loc["tags", "labour, not priced"] == "12.0 tags for a film that has any, by 5 people"
    beside = [_row(question, 0.5, 0.4, 0.6, "better") for question in figures.BESIDE_TEXT]
    shop = recorded | {"answers": [*recorded["answers"], *beside]}
    priced_table = multimodal_costs.costs({"found": {"price": cost}}, {"shop": shop})
    assert priced_table.loc["price", "cold: adds most in"] == "shop, to text alone"
    assert priced_table.loc["price", "cold: core ms per 0.01"] == pytest.approx(10 * 0.01 / 0.5)
    pictures = costs.sample_pictures(tmp_path, 3)
    assert [p.stat().st_size > 500 for p in pictures] == [True] * 3


def test_the_labour_of_tags_is_counted(tmp_path):
    rows = "userId,movieId,tag,timestamp\n1,10,slow,1\n2,10,dark,2\n1,20,war,3\n"
    (tmp_path / "tags.csv").write_text(rows)
    assert costs.tags_written(tmp_path) == {"written": 1.5, "tagged": 2.0, "taggers": 2.0}
    with pytest.raises(InputError, match="no such file"):
        costs.tags_written(tmp_path / "none")


def test_kinds_of_other_catalogues_are_measured_where_they_are(monkeypatch, capsys):
    def absent():
        raise InputError("no groceries here")

    films_seen = priced(["1", "2"]).items.assign(tags=["slow, dark", ""])
    data = priced(["1", "2"])
    monkeypatch.setattr(
        costs.blocks, "tagged_films_data", lambda: Dataset(**{**vars(data), "items": films_seen})
    )
    monkeypatch.setattr(costs, "tags_written", lambda: {"written": 2.0})
    monkeypatch.setattr(costs.blocks, "groceries_data", absent)
    found = costs._elsewhere()
    assert list(found) == ["tags"] and found["tags"]["written"] == 2.0
    assert found["tags"]["mb_per_1000_items"] == 4 * 3 / 1e3  # two words and their pair, four bytes each
    assert "no groceries here" in capsys.readouterr().out


def test_posters_are_used_of_films_that_the_graph_links(monkeypatch):
    monkeypatch.setattr(blocks.datasets, "load", lambda name: name)
    monkeypatch.setattr(blocks, "same_films", lambda ours, theirs: ["7", "8", "", "9", "7"])
    monkeypatch.setattr(blocks, "_posters", lambda: {"7", "9"})
    monkeypatch.setattr(blocks, "graph_block", lambda data, links: np.array([[1.0]] * 3 + [[0.0], [1.0]]))
    assert blocks.posters_used() == {"with a poster": 3, "posters": 2, "with a poster and an entity": 2}


@pytest.mark.parametrize(("gained", "answer"), [(0.05, "better"), (-0.01, "worse")])
def test_tags_have_a_price_only_where_they_add(gained, answer):
    cost = {"cpu_seconds_per_item": 0.001, "written": 12.0, "tagged": 30.0, "taggers": 5.0}
    rows = [
        _row("tags added to the rest", gained, gained - 0.01, gained + 0.02, answer),
        _row("tags against shuffled", gained, gained - 0.01, gained + 0.02, answer),
    ]
    ndcg = {"all": 0.4, "all without tags": 0.4 - gained, "all, tags shuffled": 0.4 - gained}
    said = multimodal_costs.tags_sentence({"found": {"tags": cost}}, {"toy": {"answers": rows, "ndcg": ndcg}})
    assert "2.0 minutes a film if a tag takes 10 seconds, which is assumed" in said
    assert ("0.4 such minutes a film for 0.01" in said) == (answer == "better")
    assert ("0.01 has no price there" in said) == (answer == "worse")
    assert multimodal_costs.tags_sentence({"found": {}}, {}) == ""


def test_a_question_without_a_null_is_no_kind(recorded):
    table = figures.answers(recorded)
    more = table.rename(index={"text added to the rest": "graph as distributed, added to the rest"})
    assert list(figures.kinds(pd.concat([table, more.iloc[:1]])).index) == list(figures.kinds(table).index)


def test_figures_state_findings_of_the_record(recorded, tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_FIGURES", str(tmp_path))
    fig = figures.knockout({"toy": recorded})
    assert "text and graph add" in fig.axes[0].get_title("left")
    assert "A kind that says nothing may add" in (tmp_path / "14_knockout.png").read_bytes().decode("latin-1")
    text = figures.takeaways(
        [{"parameters": {"part": "cold: toy"}, "metrics": recorded}], figures.answers(recorded)
    )
    assert "**Toy** (recorded)" in text and "metadata is not shown to" in text


def _row(name, gained, low, high, answer):
    return {
        "name": name,
        "NDCG gained": gained,
        "low": low,
        "high": high,
        "Holm p": "0.010",
        "answer": answer,
    }


def test_the_figure_of_methods_counts_what_is_better(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_FIGURES", str(tmp_path))
    rows = [
        _row("blend against text alone", 0.01, 0.005, 0.02, "better"),
        _row("sum against text alone", 0.03, 0.02, 0.04, "better"),
        _row("gate against text alone", -0.02, -0.03, -0.01, "worse"),
    ]
    one = {"answers": rows, "ndcg": {"text alone": 0.35}}
    other = {"answers": rows[:1], "ndcg": {"text alone": 0.2}}
    fig = figures.fusion_methods({"films": one, "groceries": other})
    titles = [" ".join(ax.get_title().split()) or " ".join(ax.get_title("left").split()) for ax in fig.axes]
    assert titles[0] == "films: 2 of 3 rank better than the text alone; best: sum"
    assert titles[1] == "groceries: 1 of 1 rank better than the text alone; best: blend"
    assert "0.350" in fig.axes[0].get_xlabel() and "0.200" in fig.axes[1].get_xlabel()
    said = figures.fusion_sentence({"films": one, "groceries": other})
    assert "films: sum, +0.030 (+0.020 to +0.040), better; groceries: blend, +0.010" in said
    assert "same method" not in said
    assert "It is the same method" in figures.fusion_sentence({"films": one, "groceries": one})


def test_what_became_of_the_posters_is_said():
    counted = {"with a poster": 1061, "posters": 1052, "with a poster and an entity": 1006}
    said = figures.posters_sentence([{"parameters": {"part": "posters"}, "metrics": {"films": counted}}])
    assert said.startswith("1,061 films of MovieLens-100K match one of 1,052 posters")
    assert (
        "1,006 are used. The graph has no entity for the other 55," in said
        and figures.posters_sentence([]) == ""
    )


def test_five_catalogues_stand_in_two_rows(recorded, tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_FIGURES", str(tmp_path))
    fig = figures.knockout(dict.fromkeys("abcde", recorded))
    assert len(fig.axes) == 6 and [ax.get_visible() for ax in fig.axes] == [True] * 5 + [False]
    assert fig.axes[4].get_title("left").startswith("e: ") or fig.axes[4].get_title().startswith("e: ")


def test_what_the_picture_adds_to_the_title_is_a_row_for_each_catalogue_with_pictures():
    rows = [_row(question, -0.004, -0.008, -0.001, "worse") for question in figures.BESIDE_TITLE]
    found = figures.beside_title({"plain": {"answers": [_row("x", 0, 0, 0, "")]}, "p": {"answers": rows}})
    assert list(found.index) == [("p", question) for question in figures.BESIDE_TITLE]
    priced_rows = [_row(question, 0.02, 0.01, 0.03, "better") for question in figures.BESIDE_TEXT]
    found = figures.beside_title({"shop": {"answers": priced_rows}})
    assert list(found.index) == [("shop", question) for question in figures.BESIDE_TEXT]
    assert figures.beside_title({}).empty
