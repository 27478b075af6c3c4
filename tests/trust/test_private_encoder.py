"""DP-SGD of a whole encoder: what is cut keeps its vectors, updates are clipped, noise is what is told."""

import numpy as np
import pytest
import torch
from training_cases import TEXTS, interactions, tiny_bert

from recsys_lib.core.errors import InputError
from recsys_lib.llm.finetune.text_model import TextModel
from recsys_lib.trust.privacy import private_encoder
from recsys_lib.trust.privacy.accountant import sampled_epsilon
from recsys_lib.trust.privacy.private_encoder import Plan

PLAN = Plan(steps=8, rate=0.5, learning_rate=0.5, per_user=4, negatives=10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert"))


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters().values()])


def test_a_smaller_table_gives_the_same_vectors(folder):
    whole, cut = TextModel(folder, TEXTS), private_encoder.small(folder, TEXTS)
    np.testing.assert_allclose(cut.encode(), whole.encode(), atol=1e-6)
    tables = [model.model.get_input_embeddings().weight for model in (whole, cut)]
    assert len(tables[1]) < len(tables[0])
    assert not np.allclose(private_encoder.small(folder, TEXTS, 1).encode(), whole.encode(), atol=1e-3)
    with pytest.raises(InputError, match="expected 1 to 2 of a BERT"):
        private_encoder.small(folder, TEXTS, 3)


def test_training_without_noise_learns_and_every_weight_moves(folder):
    model = private_encoder.small(folder, TEXTS)
    before = {name: p.detach().clone() for name, p in model.parameters().items()}
    told = private_encoder.train(model, interactions(), PLAN)
    assert told["last loss"] < told["first loss"] - 0.1 and told["noise over sum"] == 0
    moved = [name for name, p in model.parameters().items() if not torch.equal(p, before[name])]
    assert any("embeddings" in name for name in moved) and len(moved) > 0.9 * len(before)
    assert told["users a step"] == pytest.approx(30, abs=8)


def test_one_user_adds_no_more_than_a_clip():
    total = [torch.zeros(3), torch.zeros(2, 2)]
    long, short = [torch.full((3,), 4.0), torch.full((2, 2), 3.0)], [torch.full((3,), 0.1), None]
    assert private_encoder._added(total, long, 0.5) == pytest.approx(84**0.5)
    assert sum(float((part**2).sum()) for part in total) ** 0.5 == pytest.approx(0.5)
    private_encoder._added(total, short, 0.5)  # below the clip: as it is
    assert total[0][0] == pytest.approx(4 * 0.5 / 84**0.5 + 0.1)


def test_noise_has_the_length_that_is_told_and_follows_the_seed(folder):
    still = Plan(steps=1, rate=1.0, learning_rate=1.0, clip=1e-6, negatives=4, per_user=2)
    loud = Plan(**{**vars(still), "noise": 1e6})
    moved = {}
    for name, plan in (("still", still), ("loud", loud), ("again", loud)):
        model = private_encoder.small(folder, TEXTS)
        start = weights(model)
        private_encoder.train(model, interactions(6), plan)
        moved[name] = weights(model) - start
    assert float(moved["still"].norm()) <= 1.01e-6 and torch.equal(moved["loud"], moved["again"])
    # Noise of 1e6 clips of 1e-6, over 6 users, in every weight.
    assert float(moved["loud"].std()) == pytest.approx(1 / 6, rel=0.05)


def test_the_guarantee_is_that_of_all_steps():
    plan = Plan(steps=9, rate=0.2, noise=1.1)
    assert plan.epsilon(1e-5) == sampled_epsilon(1e-5, 1.1, 0.2, 9) and Plan().epsilon() == np.inf
    for wrong in ({"rate": 0}, {"steps": 0}, {"noise": -1}, {"clip": 0}):
        with pytest.raises(InputError, match="expected positive numbers"):
            Plan(**wrong)
