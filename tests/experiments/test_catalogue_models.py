"""Language models in the study over catalogues, on an invented shop: reordered lists, a trained encoder."""

import numpy as np
import pytest
from catalogue_cases import shop
from tiny_models import tiny_folder
from training_cases import tiny_bert

from recsys_lib.core.errors import InputError
from recsys_lib.evaluation import splits
from recsys_lib.experiments.catalogues import (
    catalogues_study,
    evaluated_methods,
    llm_ranking,
    long_texts,
    protocol,
    trained_encoder,
)
from recsys_lib.experiments.reranking import results
from recsys_lib.experiments.training import trained_quality, variants
from recsys_lib.experiments.training.variants import Budget, Variant
from recsys_lib.llm import prompts

pytestmark = pytest.mark.slow


def test_every_catalogue_has_a_name_for_its_items_and_both_parts():
    assert {entry.kind for entry in protocol.CATALOGUES.values()} <= set(prompts.KINDS)
    parts = catalogues_study.parts()
    for part in (catalogues_study.RANKING, catalogues_study.TRAINING):
        assert {name for p, name in parts if p == part} == set(protocol.CATALOGUES)


@pytest.mark.parametrize("timed", [False, True])
def test_lists_of_both_first_stages_hold_what_users_may_be_shown(timed):
    data = shop(timed=timed)
    found = llm_ranking.first_stages(data, trials=2, encoder="wordllama")
    base, validation, test = found["warm"]
    assert base in evaluated_methods.collaborative(timed)
    assert len(test.users) == llm_ranking.USERS and len(validation.users) == llm_ranking.VALIDATION
    assert not set(test.users) & set(validation.users)
    for ids, history in zip(test.ids, test.histories, strict=True):
        assert len(history) and not set(ids[ids >= 0]) & set(history)
    cold = splits.cold_item_split(data, 0.2, 0).cold_items
    name, validation, test = found["cold"]
    assert name == evaluated_methods.LANGUAGE_MAP
    assert set(test.ids[test.ids >= 0]) <= set(cold)
    assert not set(validation.ids[validation.ids >= 0]) & set(cold)
    assert not set(np.concatenate([*test.histories, *validation.histories])) & set(cold)


def test_models_reorder_the_lists_alone_and_fused(tmp_path, monkeypatch):
    model = str(tiny_folder(tmp_path / "model", max_position_embeddings=2048))
    for name, value in {"USERS": 6, "VALIDATION": 4, "DEPTH": 5, "HISTORY": 2}.items():
        monkeypatch.setattr(llm_ranking, name, value)
    models = {model: ("yes/no", "float32")}
    found = llm_ranking.measure_data(shop(timed=False), "product", 2, models, "wordllama")
    assert found["budget"] == {"users": 6, "validation": 4, "depth": 5, "history": 2, "words": 12}
    for stage in ("warm", "cold"):
        own = found[stage][model]
        assert len(own["users"]) == 6 == len(own["per_user"]["fused"]) == len(own["per_user"]["ndcg"])
        assert own["weight"] in results.WEIGHTS and own["cpu_seconds_per_list"] > 0
        assert own["floor"] <= own["ceiling"] and 0 <= own["ndcg"] <= own["ceiling"]
        gain = np.mean(own["per_user"]["fused"]) - np.mean(own["per_user"]["first_stage"])
        assert own["fused_minus_first_stage"]["difference"] == pytest.approx(gain, abs=1e-4)
    with pytest.raises(InputError, match="qwen-coder-9b"):
        llm_ranking.measure_data(
            shop(timed=False), "product", 2, {"qwen-coder-9b": ("yes/no", "float32")}, "wordllama"
        )


def test_models_read_the_first_words_of_texts(monkeypatch):
    seen = []

    def measured(case, source, *lists):
        seen.append((case, source))
        return {}

    monkeypatch.setattr(protocol, "FIRST_WORDS", 3)
    monkeypatch.setattr(llm_ranking.reranking_study, "measure_case", measured)
    data = shop(timed=False)
    data.items.loc[0, ["title", "description"]] = ""
    llm_ranking.measure_data(data, "product", 2, {"smollm2": ("yes/no", "float32")}, "wordllama")
    assert [case.stage for case, _ in seen][1] == evaluated_methods.LANGUAGE_MAP
    texts = seen[0][1].texts
    assert texts[0] == "" and texts[3] == "red warm thing" and seen[0][1].kind == "product"


# ---------------------------------------------------------------- a trained encoder


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert") / "model")


def test_training_stays_within_its_budget_and_is_compared_per_user(bert, tmp_path):
    variant = Variant(trained="full", learning_rate=3e-3, block=8, epochs=30, encoder=bert)
    budget = Budget(tokens=8_000, looks=3)
    found = trained_encoder.measure_data(shop(timed=False), variant, budget, 2, tmp_path / "state")
    course = found["course"]
    assert course["tokens"] <= 8_000 and course["steps"] % 3 == 0 and course["steps"] < 30 * 3
    steps = [step for step, _ in course["validated"]]
    assert steps == [0, *(course["steps"] // 3 * i for i in (1, 2, 3))] and course["kept"] in steps
    assert max(value for _, value in course["validated"]) == dict(course["validated"])[course["kept"]]
    for use, gain in found["gains"].items():
        own = [np.mean(found[key]["per_user"][use]) for key in ("trained", "frozen")]
        assert gain["difference"] == pytest.approx(own[0] - own[1], abs=1e-3)
        assert gain["low"] <= gain["difference"] <= gain["high"]
    assert found["frozen"]["users"].tolist() == found["trained"]["users"].tolist()


def test_weights_from_before_training_are_kept_where_it_harms(bert, monkeypatch):
    values = iter([0.5, 0.4, 0.3])
    monkeypatch.setattr(variants, "validation_value", lambda task: lambda vectors: next(values))
    variant = Variant(trained="full", learning_rate=0.1, block=8, encoder=bert)
    found = trained_encoder.measure_data(shop(timed=False), variant, Budget(4_000, 2), 2)
    assert found["course"]["kept"] == 0
    assert found["gains"]["map"]["difference"] == pytest.approx(0, abs=1e-6)


def test_both_encoders_read_the_first_words(bert, monkeypatch):
    read = []
    plain = trained_quality.cold_outcomes

    def outcomes(vectors, *rest):
        read.append(vectors)
        return plain(vectors, *rest)

    monkeypatch.setattr(trained_quality, "cold_outcomes", outcomes)
    monkeypatch.setattr(protocol, "FIRST_WORDS", 1)
    variant = Variant(trained="full", learning_rate=1e-9, block=8, encoder=bert)
    found = trained_encoder.measure_data(shop(timed=False), variant, Budget(400, 1), 2)
    np.testing.assert_allclose(read[0], read[1], atol=1e-4)
    assert len(np.unique(read[0].round(3), axis=0)) == 2, "every text is red or blue"
    # One word of at most four letters, with its special tokens.
    assert found["course"]["steps"] >= 400 // (8 * 8) and found["course"]["tokens"] <= 400


def test_a_budget_without_tokens_or_looks_is_refused():
    for tokens, looks in ((0, 1), (1, 0)):
        with pytest.raises(InputError, match=f"tokens={tokens}, looks={looks}"):
            Budget(tokens, looks)


def test_chunks_take_part_where_a_tenth_of_the_texts_has_two(monkeypatch):
    monkeypatch.setattr(long_texts, "_encode", lambda texts, cut: np.ones((len(texts), 2), np.float32))
    data, long = shop(timed=False), " ".join(["red"] * (long_texts.CHUNK_WORDS + 1))
    few = long_texts.variants(data, "description", [long] * 3 + ["blue"] * 37)
    some = long_texts.variants(data, "description", [long] * 4 + ["blue"] * 36)
    assert "chunks averaged" not in few and {"chunks averaged", "fields apart"} <= set(some)
