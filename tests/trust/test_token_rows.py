"""An update of a whole encoder names the words that were read, and noise hides them."""

import numpy as np
import pytest
import torch
from training_cases import TEXTS, interactions, tiny_bert

from recsys_lib.core.errors import InputError
from recsys_lib.llm.finetune.text_model import TextModel
from recsys_lib.trust.privacy import token_rows

NEGATIVES = np.random.default_rng(1).standard_normal((12, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert"))


def test_the_gradient_has_rows_for_the_tokens_that_were_read_and_no_other(bert):
    model = TextModel(bert, TEXTS, "full")
    gradient = token_rows.table_gradient(model, np.array([3, 8, 11]), NEGATIVES)
    read = {token for item in (3, 8, 11) for token in model.tokens[item][0]}
    assert set(np.flatnonzero(np.abs(gradient.rows).max(axis=1)).tolist()) == read
    assert gradient.norm >= np.linalg.norm(gradient.rows)
    whole = torch.sqrt(sum((p.grad**2).sum() for p in model.parameters().values() if p.grad is not None))
    assert gradient.norm == pytest.approx(float(whole), rel=1e-5)


def test_words_and_items_come_back_and_not_under_noise(bert):
    model, train = TextModel(bert, TEXTS, "full"), interactions()
    users = np.flatnonzero(np.diff(train.indptr) >= 2)[:6]
    popularity = np.asarray(train.sum(axis=0)).ravel()
    found = token_rows.recovered(model, train[users], NEGATIVES, popularity, [np.inf, 10.0])
    plain, noisy = found.loc["whole update"], found.loc["clipped, noise, ε = 10"]
    assert plain["words recovered"] > 0.99
    assert plain["history recovered"] > noisy["history recovered"]
    assert plain["words recovered"] > noisy["words recovered"] + 0.2


def test_only_a_table_that_is_trained_names_words(bert):
    with pytest.raises(InputError, match="expected at least 2, and 'full'"):
        token_rows.table_gradient(TextModel(bert, TEXTS, "last 1"), np.array([1, 2]), NEGATIVES)
