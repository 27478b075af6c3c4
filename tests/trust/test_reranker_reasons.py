"""Reasons of a yes/no reranker: against scores asked one by one, finite differences, and their test."""

import numpy as np
import pytest
import torch
from tiny_models import plain_logits, tiny_folder

from recsys_lib.core.errors import InputError
from recsys_lib.experiments import reranker_reasons_study as reranker_reasons
from recsys_lib.llm import language_model, packed_attention
from recsys_lib.llm.prompts import Prompts
from recsys_lib.trust.explanations.yes_no_reasons import YesNoReasons, without

HISTORY, CANDIDATE = ["Alien", "Brazil", "Fargo (1996)"], "Heat"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_folder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def reader(folder):
    return YesNoReasons(Prompts(language_model.load(str(folder), device="cpu"), max_history=4))


def naive(folder, reader, history):
    prompts = reader.prompts
    ids = prompts.instruction("pointwise") + prompts.history("pointwise", history)
    ids += prompts.question("pointwise", [CANDIDATE])
    yes, no = prompts.answers("pointwise")
    last = plain_logits(folder, ids)[-1]
    return float(last[yes] - last[no])


def test_left_out_is_the_difference_of_two_prompts(folder, reader):
    found = reader.reasons(HISTORY, CANDIDATE)
    assert found.score == pytest.approx(naive(folder, reader, HISTORY), abs=1e-4)
    expected = [found.score - naive(folder, reader, without(HISTORY, [j])) for j in range(3)]
    np.testing.assert_allclose(found.importance["left out"], expected, atol=2e-4)
    for wrong in ([], ["a"] * 5):
        with pytest.raises(InputError, match="expected 1 to 4"):
            reader.reasons(wrong, CANDIDATE)


def test_gradients_agree_with_finite_differences(folder, reader):
    score, values = reader.gradient(HISTORY, CANDIDATE)
    assert score == pytest.approx(naive(folder, reader, HISTORY), abs=1e-4)
    prompts, model = reader.prompts, reader.prompts.model
    told, entry = prompts.history_entries("pointwise", HISTORY)
    # A float32 score has an error of about 1e-6; divided by this step that is 3e-5, of a slope of 2e-2.
    first, step = prompts.instruction("pointwise"), 0.03
    ids = first + told + prompts.question("pointwise", [CANDIDATE])
    table = model.model.get_input_embeddings()
    plain, ends = table(torch.tensor(ids)).detach(), []
    for sign in (1, -1):
        moved = plain.clone()
        rows = len(first) + np.flatnonzero(entry == 1)
        moved[rows] *= 1 + sign * step
        table.weight.requires_grad_(False)
        ends.append(scored(model, moved, ids, prompts))
    assert values[1] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=0.02, abs=2e-4)


def scored(model, embeddings, ids, prompts):
    run = packed_attention._Pass([packed_attention.Group(None, [ids])], False, model.device)
    with torch.inference_mode():
        hidden = model.model.get_decoder()(
            inputs_embeds=embeddings[None], position_ids=torch.tensor([run.positions]), use_cache=False,
            packed_pass=run,
        ).last_hidden_state[0, -1]  # fmt: skip
        yes, no = model.logits(hidden[None], prompts.answers("pointwise"))[0]
    return float(yes - no)


def test_tokens_know_their_entry(reader):
    prompts = reader.prompts
    ids, entry = prompts.history_entries("pointwise", HISTORY)
    assert ids == prompts.history("pointwise", HISTORY)
    said = ["".join(prompts.model.tokenizer.decode([i for i, e in zip(ids, entry, strict=True) if e == j]))
            for j in range(3)]  # fmt: skip
    assert [text.strip() for text in said] == [f"- {title}" for title in HISTORY]
    assert (entry == -1).sum() == len(ids) - (entry >= 0).sum() > 0


def test_the_deletion_test_takes_the_first_of_an_order_out(folder, reader):
    orders = {"forth": np.array([0, 1, 2]), "back": np.array([2, 1, 0])}
    found = reader.falls(HISTORY, CANDIDATE, orders, [1, 2])
    full = naive(folder, reader, HISTORY)
    expected = [full - naive(folder, reader, part) for part in (["Alien", "Brazil"], ["Alien"])]
    np.testing.assert_allclose(found["back"], expected, atol=2e-4)
    assert found["forth"][1] == pytest.approx(full - naive(folder, reader, ["Fargo (1996)"]), abs=2e-4)
    with pytest.raises(InputError, match="each of the 3 entries"):
        reader.falls(HISTORY, CANDIDATE, {"twice": np.array([0, 0, 1])}, [1])
    with pytest.raises(InputError, match="from 1 to 2"):
        reader.falls(HISTORY, CANDIDATE, orders, [3])


def test_orders_are_tested_against_random_order_paired_by_user():
    rng = np.random.default_rng(0)
    base = rng.normal(size=30)
    lost = {"random": base, "left out": base + 0.5, "gradient": base + rng.normal(0, 0.1, 30)}
    lost["most recent"] = base - 0.2
    found = {row["order"]: row for row in reranker_reasons.tests({n: v.tolist() for n, v in lost.items()})}
    assert found["left out"]["difference"] == pytest.approx(0.5) and found["left out"]["Holm p"] < 0.001
    assert found["gradient"]["low"] < 0 < found["gradient"]["high"] and found["most recent"]["high"] < 0
