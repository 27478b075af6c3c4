"""A tiny cross-encoder: it learns a teacher's lists, scores texts it has never seen, and is a folder."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from recsys_lib.core.errors import InputError
from recsys_lib.core.quiet import quiet
from recsys_lib.data import assets
from recsys_lib.llm import rerank
from recsys_lib.llm.finetune.trained_cross_encoder import TrainedCrossEncoder

WORDS = ("red", "blue", "green", "old", "lost", "night")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two layers of 32 with MiniLM's tokenizer, which reads pairs."""
    made = tmp_path_factory.mktemp("bert")
    tokenizer = AutoTokenizer.from_pretrained(assets.resolve_model("minilm"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=48, max_position_embeddings=256, initializer_range=0.2,
    )  # fmt: skip
    with quiet():
        BertModel(config).save_pretrained(made)
        tokenizer.save_pretrained(made)
    return str(made)


def taught(count, seed=0):
    """Lists of three: the candidate that shares the history's word is wanted."""
    rng = np.random.default_rng(seed)
    histories, candidates, wanted = [], [], []
    for _ in range(count):
        words = rng.permutation(WORDS)[:3]
        best = int(rng.integers(3))
        histories.append([f"{words[best]} house", f"{words[best]} river"])
        candidates.append([f"{word} film" for word in words])
        wanted.append(np.eye(3)[best])
    return rerank.Lists(histories, candidates), wanted


def test_it_learns_what_the_teacher_wants(folder):
    student = TrainedCrossEncoder(folder, learning_rate=3e-3, batch=16)
    losses = student.fit(*taught(320), epochs=10)
    assert losses[-1] < 0.5 * losses[0]
    lists, wanted = taught(50, seed=1)
    scores, usage = rerank.rerank(student, lists)
    right = [np.argmax(s) == np.argmax(w) for s, w in zip(scores, wanted, strict=True)]
    assert np.mean(right) > 0.8 and usage.prompts == 150 and usage.read_tokens > 150


def test_a_step_is_a_function_of_its_lists(folder):
    losses = [TrainedCrossEncoder(folder, batch=4).fit(*taught(8), epochs=2) for _ in range(2)]
    assert losses[0] == losses[1]


def test_the_first_loss_is_the_cross_entropy_of_the_first_scores(folder):
    lists, wanted = taught(4)
    student = TrainedCrossEncoder(folder, batch=4)
    scores = np.array(student.score(lists, rerank.Usage()), dtype=np.float64)
    log_p = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    assert student.fit(lists, wanted) == [pytest.approx(-(np.array(wanted) * log_p).sum(1).mean(), rel=1e-5)]


def test_products_in_16_bits_change_the_loss_a_little(folder):
    lists, wanted = taught(16)
    losses = [
        TrainedCrossEncoder(folder, bfloat16=short, batch=16).fit(lists, wanted) for short in (False, True)
    ]
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], abs=0.05)


def test_the_oldest_of_a_long_history_is_cut_and_never_the_candidate(folder):
    student = TrainedCrossEncoder(folder, max_tokens=32)
    long = [[" ".join(["river"] * 10)] * 8]
    scores = [student.score(rerank.Lists(long, [[c, "x"]]), rerank.Usage())[0][0] for c in ("red", "blue")]
    assert scores[0] != scores[1]
    news = [["night", *long[0]], ["red", *long[0]]]
    scores = [student.score(rerank.Lists([h], [["a", "b"]]), rerank.Usage())[0] for h in news]
    assert not np.array_equal(*scores)
    old = [[*long[0], "night"], [*long[0], "red"]]
    scores = [student.score(rerank.Lists([h], [["a", "b"]]), rerank.Usage())[0] for h in old]
    assert np.array_equal(*scores)


def test_sentence_transformers_and_this_class_read_the_saved_folder(folder, tmp_path):
    from sentence_transformers import CrossEncoder

    student = TrainedCrossEncoder(folder, learning_rate=1e-3)
    student.fit(*taught(16))
    saved = str(student.save(tmp_path / "student"))
    lists = rerank.Lists([["red house", "red river"]], [["red film", "old film"]])
    mine = student.score(lists, rerank.Usage())[0]
    again = TrainedCrossEncoder(saved).score(lists, rerank.Usage())[0]
    assert again == pytest.approx(mine, abs=1e-6)
    with quiet():
        theirs = CrossEncoder(saved, device="cpu").predict(
            [("red house ; red river", c) for c in lists.candidates[0]],
            activation_fn=torch.nn.Identity(), show_progress_bar=False,
        )  # fmt: skip
    assert theirs == pytest.approx(mine, abs=1e-5)
    assert json.loads((tmp_path / "student" / "config.json").read_text())["id2label"] == {"0": "LABEL_0"}


def test_empty_texts_and_a_user_without_history_have_scores(folder):
    scores = TrainedCrossEncoder(folder).score(rerank.Lists([[]], [["", "电影 \x00"]]), rerank.Usage())[0]
    assert np.isfinite(scores).all() and scores.dtype == np.float32


@pytest.mark.parametrize(
    ("wanted", "said"),
    [([np.array([0.5, 0.5])], "each of 3"), ([], "0 wanted"), ([np.array([0.5, 0.6, 0.2])], "sum of 1"),
     ([np.array([np.nan, 0.5, 0.5])], "sum of 1")],
)  # fmt: skip
def test_lists_without_a_probability_each_are_refused(folder, wanted, said):
    with pytest.raises(InputError, match=said):
        TrainedCrossEncoder(folder).fit(taught(1)[0], wanted)


def test_a_decoder_is_no_cross_encoder():
    with pytest.raises(InputError, match=r"smollm2.*expected an encoder that reads pairs"):
        TrainedCrossEncoder("smollm2")
    with pytest.raises(InputError, match="learning_rate=0"):
        TrainedCrossEncoder("minilm", learning_rate=0)
