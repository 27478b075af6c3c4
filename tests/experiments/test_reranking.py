"""The reranking study: lists of a first stage, what their order is worth, records that grow by cases."""

import numpy as np
import pytest
import scipy.sparse as sp
from tiny_models import tiny_folder

from recsys_lib.core import records
from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets import Dataset
from recsys_lib.experiments.reranking import candidates, reranking_study, results
from recsys_lib.experiments.reranking.candidates import CONTROLS, Candidates, Catalogue


def found(ids, relevant, n_items=8):
    ids = np.array(ids)
    rows = sp.lil_matrix((len(ids), n_items), dtype=np.float32)
    for user, items in enumerate(relevant):
        rows[user, items] = 1
    scores = np.tile(np.linspace(1, 0, ids.shape[1], dtype=np.float32), (len(ids), 1))
    histories = [np.array([7, 6]), np.array([], int), np.array([5])][: len(ids)]
    return Candidates(np.arange(len(ids)), ids, scores, rows.tocsr(), histories)


LISTS = found([[0, 1, 2, 3], [4, 5, 0, 1], [2, 3, -1, -1]], [[2], [1, 5, 6], [3]])


def test_the_first_stage_keeps_its_order_and_the_ceiling_is_perfect():
    first = results.evaluate(LISTS, results.first_stage_scores(LISTS), k=4)
    assert first.ids.tolist() == [[0, 1, 2, 3], [4, 5, 0, 1], [2, 3, -1, -1]]
    best = results.evaluate(LISTS, results.perfect_scores(LISTS), k=4)
    assert best.per_user["ndcg"][[0, 2]].tolist() == [1, 1]
    ideal = 1 + 1 / np.log2(3) + 0.5
    assert best.per_user["ndcg"][1] == pytest.approx((1 + 1 / np.log2(3)) / ideal)


def test_the_floor_is_the_mean_of_random_orders():
    rng = np.random.default_rng(0)
    drawn = [results.evaluate(LISTS, rng.random((3, 4)), k=3).per_user["ndcg"] for _ in range(4000)]
    np.testing.assert_allclose(np.mean(drawn, axis=0), results.floor(LISTS, k=3), atol=0.02)


def test_a_weight_of_zero_is_chosen_where_nothing_helps():
    worse = results.first_stage_scores(LISTS) * -1
    perfect = results.perfect_scores(LISTS)
    good_first = found([[2, 0, 1], [1, 5, 0]], [[2], [1, 5]])
    assert results.tuned_weight(good_first, [s[:3] for s in worse[:2]]) == 0
    assert results.tuned_weight(LISTS, [s[ids >= 0] for s, ids in zip(perfect, LISTS.ids, strict=True)]) > 0


def test_fused_scores_lie_between_their_sources():
    scores = [np.array([0.0, 1, 2, 3]), np.array([5.0, 5, 5, 5]), np.array([1.0, 2])]
    ranks = [np.argsort(-s).tolist() for s in results.fused(LISTS, scores, 0.0)]
    assert ranks == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1]]
    assert np.argsort(-results.fused(LISTS, scores, 1.0)[0]).tolist() == [3, 2, 1, 0]
    assert all(abs(s.mean()) < 1e-9 for s in results.standardized(scores))


def toy():
    """60 users of 40 films in two tastes."""
    import pandas as pd

    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(60), 12)
    item = np.concatenate([20 * (u % 2) + rng.choice(20, 12, replace=False) for u in range(60)])
    titles = [f"Film {i}" for i in range(40)]
    items = pd.DataFrame({"id": range(40), "title": titles, "year": ["1990"] * 40, "genres": "Drama"})
    rating, time = np.ones(len(user)), np.arange(len(user))
    data = Dataset("ml-100k", user, item, rating, time, items, pd.DataFrame({"id": range(60)}))
    return Catalogue("ml-100k", "film", data, data.item_texts(("title", "year")), data.item_texts(("title",)))


@pytest.fixture
def films(monkeypatch):
    from recsys_lib.evaluation import splits

    source = toy()
    monkeypatch.setattr(candidates, "warm_split", lambda s, seed: splits.random_split(s.data, 0.2, 0.1, seed))
    return source


@pytest.mark.parametrize("stage", ["EASE", "ItemKNN"])
def test_candidates_are_unseen_and_users_nested(films, stage):
    validation, test = candidates.first_stage(films, stage, 20, 10, k=6)
    fewer = candidates.first_stage(films, stage, 5, 3, k=6)[1]
    assert fewer.users.tolist() == test.users[:5].tolist() and fewer.ids.tolist() == test.ids[:5].tolist()
    assert not set(validation.users) & set(test.users[:20])
    for ids, history in zip(test.ids, test.histories, strict=True):
        assert len(history) and not set(ids[ids >= 0]) & set(history)
    # Even users like the first half of the films, odd ones the second.
    assert (test.ids // 20 == test.users[:, None] % 2).mean() > 0.9


@pytest.mark.parametrize("stage", ["EASE", "ItemKNN"])
def test_a_first_stage_that_knows_little_uses_no_more(films, stage):
    whole = candidates.first_stage(films, stage, 8, 4, k=6)[1]
    validation, little = candidates.first_stage(films, stage, 8, 4, k=6, known=2)
    assert little.users.tolist() == whole.users.tolist()
    assert [h.tolist() for h in little.histories] == [h[:2].tolist() for h in whole.histories]
    assert all(len(h) <= 2 for h in validation.histories)
    for ids, history in zip(little.ids, whole.histories, strict=True):
        assert not set(ids[ids >= 0]) & set(history), "an item of the history is no candidate, known or not"
    assert not np.array_equal(little.scores, whole.scores)
    # As many as any history has: the same lists as without a limit.
    most = max(len(h) for h in whole.histories)
    all_known = candidates.first_stage(films, stage, 8, 4, k=6, known=most)[1]
    assert np.allclose(np.sort(all_known.scores, axis=1), np.sort(whole.scores, axis=1), atol=1e-5)


def test_histories_begin_with_the_most_recent(films):
    _, test = candidates.first_stage(films, "EASE", 5, 3, k=6)
    for user, history in zip(test.users, test.histories, strict=True):
        rows = np.flatnonzero(films.data.user == user)
        when = {films.data.item[r]: films.data.timestamp[r] for r in rows}
        times = [when[i] for i in history]
        assert times == sorted(times, reverse=True)


def test_histories_may_say_how_items_were_rated(films):
    films.data.rating[:] = 1 + films.data.item % 5
    _, test = candidates.first_stage(films, "EASE", 3, 3, k=6)
    plain, shown = (test.lists(films.texts, 2, r) for r in (None, films.ratings()))
    assert shown.candidates == plain.candidates
    for own, texts, given in zip(test.histories, plain.histories, shown.histories, strict=True):
        assert given == [f"{t}, rated {1 + i % 5}" for t, i in zip(texts, own, strict=False)]


def test_controls_take_away_one_thing_each(films):
    texts, same = CONTROLS["none"](films, LISTS)
    assert texts == films.texts and same is LISTS
    assert CONTROLS["ids for titles"](films, LISTS)[0][3] == "film 3"
    assert "Film" not in " ".join(CONTROLS["titles masked"](films, LISTS)[0])
    others = CONTROLS["another user's history"](films, LISTS)[1]
    assert [h.tolist() for h in others.histories] == [[5], [7, 6], []]
    assert all(len(h) == 0 for h in CONTROLS["no history"](films, LISTS)[1].histories)
    shuffled = CONTROLS["history shuffled"](films, LISTS)[1]
    assert [sorted(h) for h in shuffled.histories] == [sorted(h) for h in LISTS.histories]


def test_a_record_grows_case_by_case(films, tmp_path, monkeypatch, capsys):
    model = str(tiny_folder(tmp_path / "model", max_position_embeddings=2048))
    lists = candidates.first_stage(films, "EASE", 4, 4, k=6)
    monkeypatch.setattr(reranking_study, "_stage", lambda *_: (films, *lists))
    path = tmp_path / "record.json"
    one = reranking_study.Case("ml-100k", "EASE", model, "yes/no", 3, 2)
    two = reranking_study.Case("ml-100k", "EASE", model, "first token", 4, control="no history")
    missing = reranking_study.Case("ml-100k", "EASE", "qwen-coder-9b", "yes/no", 3)
    reranking_study.run(path, [one])
    reranking_study.run(path, [one, missing, two])
    kept = records.runs_of(path)
    assert [r["parameters"]["method"] for r in kept] == ["yes/no", "first token"]
    assert "left out" in capsys.readouterr().out
    first, second = (r["metrics"] for r in kept)
    assert len(first["users"]) == 3 and len(second["per_user"]["floor"]) == 4
    assert first["ndcg"] == pytest.approx(np.mean(first["per_user"]["ndcg"]), abs=1e-4)
    assert first["read_tokens"] < first["prompt_tokens"] and "fused" in first and "fused" not in second


def test_the_study_has_no_case_twice_and_knows_its_methods():
    cases = reranking_study.cases()
    assert len(set(cases)) == len(cases)
    assert {c.method for c in cases} <= set(reranking_study.METHODS) and {c.control for c in cases} <= set(
        CONTROLS
    )
    with pytest.raises(InputError, match="method='magic': expected one of"):
        reranking_study.reranker(reranking_study.Case("ml-100k", "EASE", "smollm2", "magic", 1), "film")


def test_unknown_catalogues_and_stages_are_one_line(films):
    with pytest.raises(InputError, match="catalogue='songs': expected one of"):
        candidates.catalogue("songs")
    with pytest.raises(InputError, match="expected the folder"):
        candidates.catalogue("citeulike")
    with pytest.raises(InputError, match="stage='magic': expected one of"):
        candidates.first_stage(films, "magic", 1, 1)


def test_leaning_finds_a_score_that_is_popularity_or_length():
    ids, texts = [np.array([2, 0, 1])], [["abc", "a", "ab"]]
    found = results.leaning([np.array([3.0, 1.0, 2.0])], ids, np.array([30, 20, 10]), texts)
    assert found["popularity"] == pytest.approx(-1)
    assert found["length"] == pytest.approx(1)


def test_agreement_of_an_order_with_its_reverse():
    assert results.agreement([np.array([[1.0, 2.0], [2.0, 1.0]])]) == pytest.approx(-1)
    assert np.isnan(results.agreement([np.array([[1.0, 2.0]])]))
