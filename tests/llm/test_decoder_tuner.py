"""Adapters of a tiny decoder: they start as nothing, learn a rule, and become weights that rerankers read."""

import numpy as np
import pytest
from scipy.special import log_softmax
from tiny_models import plain_logits, tiny_folder

from recsys_lib.core.errors import InputError
from recsys_lib.llm import language_model, rerank
from recsys_lib.llm.finetune.decoder import DecoderTuner, Example, liked
from recsys_lib.llm.prompts import Prompts

pytest.importorskip("peft")
HISTORY = ("red house", "blue house")
YES_NO = [liked(HISTORY, f"{word} {i}", word == "red") for i in range(8) for word in ("red", "old")]
LISTS = [
    Example(HISTORY, tuple("red" if i == best else f"old {i}" for i in range(3)), tuple(np.eye(3)[best]))
    for best in range(3)
    for _ in range(4)
]


@pytest.fixture
def folder(tmp_path):
    return str(tiny_folder(tmp_path / "llama"))


@pytest.fixture
def prompts(folder):
    return Prompts(language_model.load(folder, device="cpu"))


def log_odds(model, examples):
    lists = rerank.Lists([e.history for e in examples], [e.candidates for e in examples])
    return np.concatenate(rerank.YesNo(Prompts(model)).score(lists, rerank.Usage()))


def test_untrained_adapters_leave_the_models_own_logits(prompts, folder):
    tuner = DecoderTuner(prompts)
    yes, no = prompts.answers("pointwise")
    for example, score in zip(YES_NO[:3], log_odds(tuner.model(), YES_NO[:3]), strict=True):
        logits = plain_logits(folder, tuner.ids(example))[-1]
        assert score == pytest.approx(float(logits[yes] - logits[no]), abs=1e-4)


def test_adapters_learn_a_rule_and_leave_the_weights_alone(prompts):
    tuner = DecoderTuner(prompts, learning_rate=3e-3)
    frozen = {n: p.clone() for n, p in tuner.adapted.named_parameters() if not p.requires_grad}
    losses = tuner.fit(YES_NO, epochs=12)
    assert losses[-1] < 0.5 * losses[0]
    scores, answers = log_odds(tuner.model(), YES_NO), np.array([e.wanted[0] == 1 for e in YES_NO])
    assert scores[answers].min() > scores[~answers].max()
    assert all((p == frozen[n]).all() for n, p in tuner.adapted.named_parameters() if n in frozen)


def test_the_loss_is_the_cross_entropy_of_the_merged_models_answers(prompts):
    tuner = DecoderTuner(prompts, learning_rate=1e-3, batch=2)
    soft = [liked(HISTORY, f"film {i}", p) for i, p in enumerate((0.9, 0.4))]
    tuner.fit(soft, epochs=2)
    odds = log_odds(tuner.model(), soft)  # before the step that the next loss is followed by
    log_p = np.stack([-np.log1p(np.exp(-odds)), -np.log1p(np.exp(odds))], axis=1)
    wanted = np.array([e.wanted for e in soft])
    assert tuner.fit(soft, epochs=1) == [pytest.approx(-(wanted * log_p).sum(1).mean(), abs=1e-4)]


def test_a_letter_is_learned_wherever_the_item_stands(prompts):
    tuner = DecoderTuner(prompts, "choose", learning_rate=1e-2, batch=4)
    losses = tuner.fit(LISTS, epochs=40)
    assert losses[-1] < 0.5 * losses[0]
    lists = rerank.Lists([HISTORY], [("old 0", "red", "old 2")])
    scores, _ = rerank.rerank(rerank.FirstToken(Prompts(tuner.model()), permutations=2), lists)
    assert int(np.argmax(scores[0])) == 1


def test_lists_of_different_lengths_share_a_step(prompts):
    short = Example(HISTORY, ("a", "b"), (0.25, 0.75))
    long = Example(HISTORY, ("a", "b", "c"), (0.2, 0.3, 0.5))
    each = [DecoderTuner(prompts, "choose").fit([e], epochs=1)[0] for e in (short, long)]
    assert DecoderTuner(prompts, "choose", batch=2).fit([short, long], 1) == [pytest.approx(np.mean(each))]
    tuner = DecoderTuner(prompts, "choose")
    logits = plain_logits(prompts.model.name, tuner.ids(short))[-1][prompts.answers("choose", 2)]
    wanted = -(np.array(short.wanted) * log_softmax(logits.numpy())).sum()
    assert each[0] == pytest.approx(wanted, abs=1e-4)


def test_a_saved_decoder_is_a_folder_that_loads(prompts, tmp_path):
    tuner = DecoderTuner(prompts, learning_rate=3e-3)
    tuner.fit(YES_NO, epochs=2)
    saved = language_model.load(str(tuner.save(tmp_path / "trained")), device="cpu")
    assert log_odds(saved, YES_NO) == pytest.approx(log_odds(tuner.model(), YES_NO), abs=1e-5)
    tuner.save(tmp_path / "trained")  # again, over its own
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="holds other files"):
        tuner.save(tmp_path / "notes")
    assert [p.name for p in (tmp_path / "notes").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"batch": 0}, "batch=0"),
        ({"task": "written"}, "expected one of pointwise, choose"),
    ],
)
def test_what_cannot_be_trained_is_refused(prompts, options, said):
    with pytest.raises(InputError, match=said):
        DecoderTuner(prompts, **options)


@pytest.mark.parametrize(
    ("task", "example", "said"),
    [
        ("pointwise", Example((), ("a", "b"), (0.5, 0.5)), "2 candidates and 2"),
        ("choose", Example((), ("a",), (1.0,)), "expected 2 or more"),
        ("choose", Example((), ("a", "b"), (1.0,)), "2 candidates and 1"),
        ("pointwise", Example((), ("a",), (0.5, 0.9)), "expected a sum of 1"),
        ("pointwise", Example((), ("a",), (float("nan"), 1.0)), "expected a sum of 1"),
    ],
)
def test_examples_without_an_answer_each_are_refused(prompts, task, example, said):
    with pytest.raises(InputError, match=said):
        DecoderTuner(prompts, task).fit([example])


def test_products_in_16_bits_change_the_loss_a_little(prompts):
    losses = [
        DecoderTuner(prompts, batch=16, bfloat16=short).fit(YES_NO, epochs=1) for short in (False, True)
    ]
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], abs=0.05)


def test_no_examples_train_nothing(prompts):
    assert DecoderTuner(prompts).fit([], epochs=1) == [0.0]
