"""Fine-tuning: batches, losses against naive ones, passes and workers alike, kill and resume, saved
folders.
"""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from training_cases import TEXTS, interactions, same, trainer_of, weights

from recsys_lib import encoders
from recsys_lib.core.errors import InputError
from recsys_lib.evaluation import restrict
from recsys_lib.llm.finetune.batches import ItemBlocks, UserSamples
from recsys_lib.llm.finetune.objectives import Contrastive, EASEColumns, Sum
from recsys_lib.llm.finetune.text_model import TextModel
from recsys_lib.llm.finetune.trainer import Settings
from recsys_lib.recommenders import EASE


@pytest.fixture
def folder(bert):
    return bert


def same_gradients(a, b):
    """Equal but for rounding. Weights are not compared: AdamW makes full steps of gradients that are 0."""
    for name, parameter in a.trained.items():
        other = b.trained[name].grad
        np.testing.assert_allclose(parameter.grad, other, rtol=1e-3, atol=1e-6, err_msg=name)


# ---------------------------------------------------------------- batches


def test_blocks_hold_every_warm_item_once_an_epoch_and_follow_the_seed():
    train = interactions()
    train = restrict(train, np.arange(40) != 3)
    blocks, again, other = (ItemBlocks(train, 9, seed=seed) for seed in (1, 1, 2))
    seen = np.concatenate([blocks.batch(s).items for s in range(blocks.per_epoch)])
    assert len(set(seen.tolist())) == len(seen) and 3 not in seen
    assert len(seen) > len(TEXTS) - 1 - 9
    np.testing.assert_array_equal(blocks.batch(7).rows, again.batch(7).rows)
    assert not np.array_equal(blocks.batch(0).items, other.batch(0).items)
    assert not np.array_equal(blocks.batch(0).items, blocks.batch(blocks.per_epoch).items)


@pytest.mark.parametrize("timed", [False, True])
def test_user_samples_hold_each_text_once_and_no_target_in_its_history(timed):
    train = interactions()
    times = train.copy()
    times.data = np.random.default_rng(5).permutation(len(times.data)) + 1.0
    samples = UserSamples(train, users=10, history=4, hard=2, times=times if timed else None)
    batch = samples.batch(3)
    assert len(np.unique(batch.items)) == len(batch.items)
    for row, (user, target) in enumerate(zip(batch.users, batch.targets, strict=True)):
        history = [batch.items[i] for i in batch.order[row] if i >= 0]
        assert batch.items[target] not in history and len(set(history)) == len(history)
        assert all(train[user, i] for i in [*history, batch.items[target]])
        np.testing.assert_array_equal(batch.known[row], train[user, batch.items].toarray()[0] != 0)
        if timed:
            at = [times[user, i] for i in [batch.items[target], *history]]
            assert at == sorted(at, reverse=True)
    assert np.isfinite(batch.log_q).all() and (batch.log_q <= 0).all()


def test_hard_negatives_are_items_that_ease_ranks_high_and_the_user_did_not_choose():
    train = interactions()
    samples = UserSamples(train, users=10, history=4, hard=2)
    batch = samples.batch(0)
    drawn = set(batch.items.tolist()) - {int(i) for u in batch.users for i in train[u].indices}
    assert all(any(i in samples.difficult[u] for u in batch.users) for i in drawn)
    assert all(not train[u, i] for u in batch.users for i in samples.difficult[u][:5])


# ---------------------------------------------------------------- losses


def test_contrastive_loss_equals_a_naive_loop():
    blocks = ItemBlocks(interactions(), 12)
    batch = blocks.batch(0)
    vectors = np.random.default_rng(0).normal(size=(len(batch.items), 5)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    losses = []
    for row, target in zip(batch.rows, batch.targets, strict=True):
        profile = unit[batch.members[row]].sum(0) - unit[target]
        profile /= np.linalg.norm(profile)
        others = [i for i in range(len(unit)) if i == target or not batch.known[row, i]]
        logits = unit[others] @ profile / 0.1 - batch.log_q[others]
        losses.append(np.log(np.exp(logits).sum()) - logits[others.index(target)])
    found = Contrastive(5).loss(torch.from_numpy(vectors), torch.empty(0, 5), batch)
    assert float(found) == pytest.approx(np.mean(losses), rel=1e-5)


def test_the_correction_subtracts_the_logarithm_of_how_often_an_item_is_a_negative():
    batch = UserSamples(interactions(), users=10, history=4).batch(0)
    vectors = torch.from_numpy(np.random.default_rng(1).normal(size=(len(batch.items), 5)).astype(np.float32))
    none = torch.empty(0, 5)
    plain = Contrastive(5, correct=False).loss(vectors, none, batch)
    shifted = SimpleNamespace(**vars(batch) | {"log_q": np.full_like(batch.log_q, -3.0)})
    assert float(Contrastive(5).loss(vectors, none, shifted)) == pytest.approx(float(plain), rel=1e-5)
    assert float(Contrastive(5).loss(vectors, none, batch)) != pytest.approx(float(plain), rel=1e-3)


def test_users_as_sequences_and_texts_read_the_history_and_not_the_target(folder):
    batch = UserSamples(interactions(), users=6, history=3).batch(0)
    by_text = Contrastive(32, "text", item_texts=TEXTS)
    for row, text in enumerate(by_text.texts(batch)):
        assert text == "; ".join(TEXTS[batch.items[i]] for i in batch.order[row] if i >= 0)
        assert TEXTS[batch.items[batch.targets[row]]] not in text.split("; ")
    sequence = Contrastive(4, "sequence")
    vectors = torch.randn(len(batch.items), 4, generator=torch.Generator().manual_seed(0))
    reversed_batch = SimpleNamespace(**vars(batch) | {"order": batch.order[:, ::-1].copy()})
    none = torch.empty(0, 4)
    first, turned = (sequence.loss(vectors, none, b).item() for b in (batch, reversed_batch))
    assert first != turned
    trainer = trainer_of(folder)
    trainer.batches, trainer.objective = UserSamples(interactions(), users=6, history=3), by_text
    first = [trainer.step() for _ in range(2)]
    assert np.isfinite(first).all()


def test_distillation_starts_at_the_ridge_map_and_its_loss_falls(folder):
    train = interactions()
    trainer = trainer_of(folder, objective=lambda m: EASEColumns(train, m.encode(), 20.0, 1.0), size=40)
    columns = EASE(20.0).fit(train).weights
    assert trainer.objective.targets.shape == (40, 40)
    centred = columns.T - columns.T.mean(axis=0)
    np.testing.assert_allclose(trainer.objective.targets, centred / centred.std(ddof=1), rtol=1e-3, atol=1e-4)
    losses = [trainer.step() for _ in range(8)]
    assert losses[0] < 1.0  # the mean column alone has 1
    assert losses[-1] < 0.95 * losses[0]


def test_sum_adds_its_parts(folder):
    model = TextModel(folder, TEXTS)
    batch = ItemBlocks(interactions(), 12).batch(0)
    a, b = Contrastive(32), EASEColumns(interactions(), model.encode(), 20.0)
    vectors, none = model.vectors(batch.items).detach(), torch.empty(0, 32)
    total = Sum([(1.0, a), (0.5, b)])
    expected = a.loss(vectors, none, batch).item() + 0.5 * b.loss(vectors, none, batch).item()
    assert total.loss(vectors, none, batch).item() == pytest.approx(expected, rel=1e-6)
    assert len(total.parameters()) == 2


# ---------------------------------------------------------------- steps


@pytest.mark.parametrize("options", [{}, {"per_pass": 5}, {"per_pass": 5, "checkpointing": True}])
def test_passes_and_checkpointed_activations_give_the_gradient_of_the_whole_batch(folder, options):
    whole, cut = trainer_of(folder), trainer_of(folder, **options)
    first = whole.step(), cut.step()
    same_gradients(whole, cut)
    losses = [first, *((whole.step(), cut.step()) for _ in range(3))]
    np.testing.assert_allclose(*zip(*losses, strict=True), rtol=1e-5)


def test_dropout_is_drawn_from_the_step_alike_in_both_passes(folder):
    once, twice = (trainer_of(folder, per_pass=5, dropout=0.2) for _ in range(2))
    torch.manual_seed(1)
    first = [once.step() for _ in range(3)]
    torch.manual_seed(2)
    assert first == [twice.step() for _ in range(3)]
    assert first[0] != trainer_of(folder, per_pass=5).step()


class Shared:
    """Two workers in one process, by turns: the second's part of an exchange is made by a twin trainer."""

    def __init__(self, rank, barrier, board):
        self.rank, self.size, self.barrier, self.board = rank, 2, barrier, board

    def _exchange(self, value):
        self.board[self.rank] = value
        self.barrier.wait()
        found = [self.board[0], self.board[1]]
        self.barrier.wait()
        return found

    def gather(self, part):
        return self._exchange(part)

    def add(self, gradients):
        parts = self._exchange([g.clone() for g in gradients])
        for gradient, a, b in zip(gradients, *parts, strict=True):
            gradient.copy_(a + b)


def test_two_workers_take_the_steps_of_one(folder):
    import threading

    train = interactions()
    distil = lambda m: EASEColumns(train, m.encode(), 20.0)  # noqa: E731
    alone = trainer_of(folder, per_pass=5, objective=distil)
    barrier, board = threading.Barrier(2, timeout=60), {}
    pair = [trainer_of(folder, Shared(r, barrier, board), 5, objective=distil) for r in range(2)]
    losses = {}
    alone.step()

    def run(rank):
        losses[rank] = [pair[rank].step()]
        barrier.wait()
        if not rank:
            same_gradients(alone, pair[0])
        barrier.wait()
        losses[rank] += [pair[rank].step() for _ in range(2)]

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone.step(), alone.step()
    np.testing.assert_allclose(losses[0], alone.progress.losses, rtol=1e-5)
    assert losses[0] == losses[1]
    same(weights(pair[0]), weights(pair[1]))


@pytest.mark.parametrize(("trained", "moved"), [("full", {"emb", 0, 1}), ("layers", {0, 1}), ("last 1", {1})])
def test_only_what_was_chosen_is_trained(folder, trained, moved):
    trainer = trainer_of(folder, trained=trained)
    before = {n: p.detach().clone() for n, p in trainer.model.model.named_parameters()}
    trainer.step()
    changed = {n for n, p in trainer.model.model.named_parameters() if not torch.equal(p, before[n])}
    parts = {int(n.split(".")[2]) if n.startswith("encoder.layer") else "emb" for n in changed}
    assert parts == moved


def test_a_loss_falls_and_validation_keeps_the_best(folder):
    trainer = trainer_of(folder)
    values = iter([0.1, 0.3, 0.2, 0.1, 0.0])
    kept = []

    def validate(vectors):
        assert vectors.shape == (len(TEXTS), 32)
        kept.append(vectors)
        return next(values)

    progress = trainer.fit(validate, every=1, patience=2)
    assert progress.validated == [(0, 0.1), (1, 0.3), (2, 0.2), (3, 0.1)]
    assert progress.best == (1, 0.3)
    np.testing.assert_allclose(trainer.model.encode(), kept[1], atol=1e-6)
    long = trainer_of(folder)
    losses = long.fit().losses
    assert len(losses) == 8 and losses[-1] < losses[0]


# ---------------------------------------------------------------- state


def test_a_resumed_run_gives_the_weights_of_the_uninterrupted_one(folder, tmp_path):
    whole, first = trainer_of(folder), trainer_of(folder)
    for _ in range(6):
        whole.step()
    for _ in range(3):
        first.step()
    first.save(tmp_path / "state")
    torch.manual_seed(123)
    second = trainer_of(folder)
    assert second.resume(tmp_path / "state")
    for _ in range(3):
        second.step()
    same(weights(whole), weights(second))
    assert whole.progress.losses == second.progress.losses
    assert not trainer_of(folder).resume(tmp_path / "nothing")
    with pytest.raises(InputError, match="trained='full', here 'last 1'"):
        trainer_of(folder, trained="last 1").resume(tmp_path / "state")


# ---------------------------------------------------------------- saved folders


@pytest.mark.parametrize("trained", ["full", "lora"])
def test_a_saved_folder_gives_the_same_vectors_here_and_in_sentence_transformers(folder, tmp_path, trained):
    if trained == "lora":
        pytest.importorskip("peft")
    trainer = trainer_of(folder, trained=trained)
    before = trainer.model.encode()
    for _ in range(3):
        trainer.step()
    mine = trainer.model.encode()
    assert np.abs(mine - before).max() > 1e-3
    for _ in range(2):  # again over itself
        trainer.model.save(tmp_path / "out")
    loaded = encoders.load(str(tmp_path / "out"), precision="float32", cache=False).encode(TEXTS)
    np.testing.assert_allclose(loaded, mine, atol=1e-5)
    transformers = pytest.importorskip("sentence_transformers")
    theirs = transformers.SentenceTransformer(str(tmp_path / "out"), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(theirs, mine, atol=1e-5)
    assert not list(tmp_path.glob(".*.part"))


def test_a_folder_with_other_files_is_left_alone(folder, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        TextModel(folder, TEXTS).save(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_adapters_train_few_weights_and_start_as_the_encoder(folder):
    pytest.importorskip("peft")
    plain, adapted = TextModel(folder, TEXTS), TextModel(folder, TEXTS, "lora", rank=2)
    np.testing.assert_allclose(plain.encode(), adapted.encode(), atol=1e-6)
    count = lambda m: sum(p.numel() for p in m.parameters().values())  # noqa: E731
    assert count(adapted) < 0.1 * count(plain)


def test_mistakes_are_one_line(folder, monkeypatch):
    for make, message in (
        (lambda: TextModel("tfidf", TEXTS), "has no layers to train"),
        (lambda: TextModel(folder, TEXTS, "last 3"), "at most 2 layers"),
        (lambda: TextModel(folder, TEXTS, "some"), "trained='some'"),
        (lambda: Settings(steps=0), "steps=0"),
        (lambda: Contrastive(4, "crowd"), "users='crowd'"),
        (lambda: Contrastive(4, "text"), "expected item_texts"),
        (lambda: ItemBlocks(sp.csr_matrix((3, 4), dtype=np.float32)), "0 items with interactions"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            make()
        assert "\n" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match=r"package 'peft' is not installed: run python -m pip install"):
        TextModel(folder, TEXTS, "lora")
