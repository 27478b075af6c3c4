"""Reranking methods against naive prompts one by one, and with answers that are known."""

import itertools
import json

import numpy as np
import pytest
import torch
from tiny_models import plain_logits, tiny_folder

from recsys_lib.core.errors import InputError
from recsys_lib.llm import language_model, rerank
from recsys_lib.llm.prompts import LETTERS, Prompts
from recsys_lib.llm.rerank import comparisons, cross_encoder, listwise, reranker

HISTORIES = [["Alien", "Brazil"], [], ["Fargo"]]
CANDIDATES = [["Heat", "Big", "Jaws"], ["Kids", "Antz"], ["Speed", "Se7en", "Babe", "Nell"]]
LISTS = rerank.Lists(HISTORIES, CANDIDATES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_folder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def prompts(folder):
    return Prompts(language_model.load(str(folder), device="cpu"))


def whole(prompts, task, history, question):
    return prompts.instruction(task) + prompts.history(task, history) + question


def naive_yes_no(folder, prompts, history, candidate):
    ids = whole(prompts, "pointwise", history, prompts.question("pointwise", [candidate]))
    yes, no = prompts.answers("pointwise")
    return float(plain_logits(folder, ids)[-1, yes] - plain_logits(folder, ids)[-1, no])


def naive_likelihood(folder, prompts, history, title):
    ids = whole(prompts, "likelihood", history, prompts.question("likelihood"))
    target = prompts.model.ids(title)
    log_p = plain_logits(folder, ids + target)[len(ids) - 1 : -1].log_softmax(-1)
    return float(log_p[range(len(target)), target].mean())


def test_pointwise_scores_are_those_of_prompts_read_one_by_one(folder, prompts):
    scores, usage = rerank.rerank(rerank.YesNo(prompts, users_at_once=2), LISTS)
    for history, candidates, found in zip(HISTORIES, CANDIDATES, scores, strict=True):
        expected = [naive_yes_no(folder, prompts, history, c) for c in candidates]
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert usage.lists == 3 and usage.prompts == 9 and len(usage.seconds) == 3
    assert usage.read_tokens < usage.prompt_tokens
    assert usage.prompt_tokens == sum(
        len(whole(prompts, "pointwise", h, prompts.question("pointwise", [c])))
        for h, own in zip(HISTORIES, CANDIDATES, strict=True) for c in own
    )  # fmt: skip


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
@pytest.mark.parametrize("method", [rerank.YesNo, rerank.TitleLikelihood, rerank.FirstToken, rerank.AllPairs])
def test_a_gpu_gives_the_scores_of_the_processor(folder, prompts, method):
    there, _ = rerank.rerank(method(Prompts(language_model.load(str(folder), device="cuda"))), LISTS)
    here, _ = rerank.rerank(method(prompts), LISTS)
    for ours, theirs in zip(there, here, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_title_likelihood_is_the_mean_log_probability_less_its_prior(folder, prompts):
    scores, _ = rerank.rerank(rerank.TitleLikelihood(prompts), LISTS)
    raw, _ = rerank.rerank(rerank.TitleLikelihood(prompts, less_prior=False), LISTS)
    for history, candidates, found, plain in zip(HISTORIES, CANDIDATES, scores, raw, strict=True):
        expected = np.array([naive_likelihood(folder, prompts, history, c) for c in candidates])
        prior = np.array([naive_likelihood(folder, prompts, [], c) for c in candidates])
        np.testing.assert_allclose(plain, expected, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(found, expected - prior, rtol=1e-3, atol=1e-3)


def test_first_token_scores_are_log_probabilities_of_the_letters(folder, prompts):
    method = rerank.FirstToken(prompts, permutations=1)
    method.rng = np.random.default_rng(5)
    found = method.score(LISTS.part(0, 1), rerank.Usage())[0]
    order = np.random.default_rng(5).permutation(3)
    question = prompts.question("choose", [CANDIDATES[0][i] for i in order])
    letters = prompts.model.answer_tokens("ABC")
    logits = plain_logits(folder, whole(prompts, "choose", HISTORIES[0], question))[-1, letters]
    np.testing.assert_allclose(found[order], logits.log_softmax(0), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(np.exp(found).sum(), 1, rtol=1e-5)


def test_a_preference_for_a_letter_cancels_over_an_order_and_its_reverse(prompts):
    method = rerank.FirstToken(prompts, permutations=4)
    # The answer depends on the place only.
    method.reader.ask = lambda users, asked, tokens, usage: [
        np.tile(-0.5 * np.arange(len(tokens)), (len(a), 1)).astype(np.float32) for a in asked
    ]
    one, many = method.per_permutation(LISTS, rerank.Usage()), method.score(LISTS, rerank.Usage())
    for per_order, mean in zip(one, many, strict=True):
        assert np.ptp(per_order[0]) > 0.4 and np.ptp(mean) < 1e-6


def test_permutations_come_in_pairs():
    drawn = list(reranker.permutations(5, 4, np.random.default_rng(0)))
    assert drawn[1].tolist() == drawn[0][::-1].tolist() and drawn[3].tolist() == drawn[2][::-1].tolist()


def test_pairs_are_asked_in_both_orders(prompts):
    method, usage = rerank.AllPairs(prompts), rerank.Usage()
    scores = method.score(LISTS, usage)
    assert usage.prompts == 3 * 2 + 2 * 1 + 4 * 3
    for own in scores:
        assert abs(own.sum()) < 1e-5
    # Swapping the candidates swaps the scores.
    swapped = method.score(rerank.Lists(HISTORIES[:1], [CANDIDATES[0][::-1]]), rerank.Usage())[0]
    np.testing.assert_allclose(swapped[::-1], scores[0], atol=1e-3)


def oracle(values):
    """``preferences`` of a model that knows each user's value of every item."""

    def preferences(users, items, sets, usage):
        return [
            [np.array([values[own[i]] for i in chosen], float) for chosen in asked]
            for own, asked in zip(items, sets, strict=True)
        ]

    return preferences


@pytest.mark.parametrize("set_size", [2, 3, 4, 7])
@pytest.mark.parametrize("n", [2, 3, 10, 20])
def test_heap_sort_finds_the_best_in_order(prompts, set_size, n):
    rng = np.random.default_rng(n)
    values = {f"i{j}": float(v) for j, v in enumerate(rng.permutation(n))}
    method = rerank.HeapSort(prompts, set_size, top=5)
    method.preferences = oracle(values)
    (scores,), _ = rerank.rerank(method, rerank.Lists([["x"]], [list(values)]))
    best = [list(values)[i] for i in rerank.order(scores)][:5]
    assert best == sorted(values, key=lambda name: -values[name])[:5]


@pytest.mark.parametrize(("children", "n"), list(itertools.product([1, 3], [2, 5, 20])))
def test_answers_that_agree_with_the_first_stage_keep_its_order(children, n):
    sorting, found = comparisons.heap_top(n, children, n), None
    asked = next(sorting)
    while found is None:
        try:
            asked = sorting.send(min(asked))
        except StopIteration as done:
            found = done.value
    assert found == list(range(n))


@pytest.mark.parametrize(
    ("text", "places", "repaired"),
    [
        ("B > A > C", [1, 0, 2], False),
        ("b > a", [0, 1, 2], True),
        ("C > C > A > B", [2, 0, 1], True),
        ("Z, B", [1, 0, 2], True),
        ("", [0, 1, 2], True),
        ("The answer: ABC", [0, 1, 2], True),
    ],
)
def test_written_orders_are_repaired_and_counted(text, places, repaired):
    assert listwise.parse_permutation(text, 3) == (places, repaired)


def test_windows_carry_the_best_to_the_top(prompts, monkeypatch):
    """A writer that sorts each window by name: two passes of the window bring the best five to the top."""
    names = [f"n{i:02d}" for i in np.random.default_rng(1).permutation(20)]
    asked = []
    question = Prompts.question

    def remember(self, task, items=()):
        asked.append(list(items))
        return question(self, task, items)

    def sort_window(prompts, users, questions, max_tokens, usage):
        shown = asked[-1]
        return [" > ".join(LETTERS[shown.index(name)] for name in sorted(shown))]

    monkeypatch.setattr(Prompts, "question", remember)
    monkeypatch.setattr(listwise, "write", sort_window)
    (scores,), usage = rerank.rerank(rerank.WrittenPermutation(prompts), rerank.Lists([["x"]], [names]))
    ranked = [names[i] for i in rerank.order(scores)]
    assert ranked[:5] == sorted(names)[:5] and usage.repaired == 0


def test_written_answers_stop_and_are_those_of_greedy_decoding(folder, prompts):
    reader = reranker.PrefixReader(prompts, "permutation")
    question = prompts.question("permutation", CANDIDATES[0])
    usage = rerank.Usage()
    users = reader.users(HISTORIES[:1], [[question]], usage)
    text = listwise.write(prompts, users, [question], 6, usage)[0]
    ids = whole(prompts, "permutation", HISTORIES[0], question)
    for _ in range(6):
        token = int(plain_logits(folder, ids)[-1].argmax())
        if token == prompts.model.tokenizer.eos_token_id:
            break
        ids.append(token)
    n = usage.written_tokens
    assert n <= 6 and prompts.model.tokenizer.decode(ids[len(ids) - n :] if n else []) == text


def test_lists_with_nothing_to_reorder_do_not_reach_the_model(prompts):
    method = rerank.YesNo(prompts)
    method.score = lambda lists, usage: pytest.fail("asked")
    scores, usage = rerank.rerank(method, rerank.Lists([["a"], []], [["b"], []]))
    assert [s.tolist() for s in scores] == [[0], []] and usage.prompts == 0


@pytest.mark.parametrize(
    ("histories", "candidates", "message"),
    [
        ([["a"]], [["b"], ["c"]], "1 histories and 2 lists of candidates"),
        (["abc"], [["b", "c"]], r"histories\[0\]='abc': expected a list of texts"),
        ([["a"]], [["b", None]], r"candidates\[0\]"),
    ],
)
def test_mistakes_are_one_line(histories, candidates, message):
    with pytest.raises(InputError, match=message):
        rerank.Lists(histories, candidates)


def test_limits_of_methods_are_checked(prompts):
    for make in (
        lambda: rerank.FirstToken(prompts, 0), lambda: rerank.HeapSort(prompts, 1),
        lambda: rerank.WrittenPermutation(prompts, window=1), lambda: rerank.CrossEncoder(max_tokens=9),
    ):  # fmt: skip
        with pytest.raises(InputError, match="expected"):
            make()
    with pytest.raises(InputError, match="27 candidates"):
        rerank.rerank(rerank.FirstToken(prompts), rerank.Lists([["a"]], [["b"] * 27]))


class CountingSession:
    """Scores a pair by the number of tokens that both sides share."""

    def get_inputs(self):
        return [type("Input", (), {"name": n}) for n in ("input_ids", "attention_mask", "token_type_ids")]

    def run(self, outputs, feed):
        scores = []
        for ids, mask, kinds in zip(*feed.values(), strict=True):
            left, right = set(ids[(mask == 1) & (kinds == 0)]), set(ids[(mask == 1) & (kinds == 1)])
            scores.append([len((left & right) - {0, 1, 2})])
        return [np.array(scores, dtype=np.float32)]


def test_the_cross_encoder_reads_history_and_candidate_together(tmp_path, monkeypatch):
    words = {w: i for i, w in enumerate(["[CLS]", "[SEP]", "[PAD]", "[UNK]", "space", "war", "love", "farm"])}
    model = {"type": "WordLevel", "vocab": words, "unk_token": "[UNK]"}
    content = {"version": "1.0", "model": model, "pre_tokenizer": {"type": "Whitespace"}, "added_tokens": []}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    monkeypatch.setattr(cross_encoder, "_session", lambda path, threads: CountingSession())
    method = rerank.CrossEncoder(max_item_tokens=2, max_tokens=7, folder=tmp_path)
    lists = rerank.Lists([["space war", "love"], ["farm"]], [["love", "space war"], ["farm", "\x00"]])
    scores, usage = rerank.rerank(method, lists)
    # "love" is the second entry and does not fit beside the longest candidate.
    assert [s.tolist() for s in scores] == [[0, 2], [1, 0]]
    assert method.history_entries_cut == 1 and usage.prompts == 4


def test_torch_is_left_without_gradients(prompts):
    assert not any(p.requires_grad for p in prompts.model.model.parameters())
    assert torch.is_grad_enabled()
