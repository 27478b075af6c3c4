"""Titles written by a decoder: under a trie every answer is an item, and the beam search is exact."""

import itertools

import numpy as np
import pytest
import torch

from recsys_lib.core.errors import InputError
from recsys_lib.llm.titles import TitleTrie, matching_item, write_titles

WORDS = [" red", " blue", " sea", " sun", " of", " the", "\n", "-"]
TITLES = ["red sea", "blue sun", "red", "the sun of the sea", "red sea"]


class Tokenizer:
    """A tokenizer of eight words, as far as writing titles needs one."""

    def encode(self, text, add_special_tokens=True):
        tokens = []
        while text:
            word = next((w for w in WORDS if text.startswith(w)), None)
            if word is None:
                raise AssertionError(f"no word starts {text!r}")
            tokens.append(WORDS.index(word))
            text = text[len(word) :]
        return tokens

    def __call__(self, text, return_tensors="pt", add_special_tokens=False):
        from transformers import BatchEncoding

        ids = torch.tensor([self.encode(text)])
        return BatchEncoding({"input_ids": ids, "attention_mask": torch.ones_like(ids)})

    def decode(self, tokens, skip_special_tokens=True):
        return "".join(WORDS[t] for t in tokens)


@pytest.fixture(scope="module")
def decoder():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = LlamaConfig(vocab_size=len(WORDS), intermediate_size=32, pad_token_id=6, **size)
    return LlamaForCausalLM(config).eval()


def log_probability(decoder, prompt, title):
    tokenizer = Tokenizer()
    before = tokenizer.encode(prompt)
    after = tokenizer.encode(" " + title + "\n")
    with torch.inference_mode():
        log_p = torch.log_softmax(decoder(torch.tensor([before + after])).logits[0], -1)
    return sum(float(log_p[len(before) - 1 + i, token]) for i, token in enumerate(after)), len(after)


PROMPT = "- blue\n-"


def test_every_answer_is_an_allowed_item_in_order_of_probability(decoder):
    [written] = write_titles(decoder, Tokenizer(), [PROMPT], TITLES, [[0, 1, 2, 3]], count=4)
    expected = {i: log_probability(decoder, PROMPT, TITLES[i])[0] for i in range(4)}
    assert [w.item for w in written] == sorted(expected, key=lambda i: -expected[i])
    np.testing.assert_allclose([w.score for w in written], sorted(expected.values(), reverse=True), atol=1e-4)
    assert [w.text for w in written] == [TITLES[w.item] for w in written]


def test_the_length_rule_divides_by_the_number_of_tokens(decoder):
    [written] = write_titles(
        decoder, Tokenizer(), [PROMPT], TITLES, [[0, 1, 2, 3]], count=4, length_penalty=1.0
    )
    for w in written:
        total, n = log_probability(decoder, PROMPT, TITLES[w.item])
        assert w.score == pytest.approx(total / n, abs=1e-4)


def test_each_prompt_has_its_own_items_and_no_more_answers_than_items(decoder):
    found = write_titles(decoder, Tokenizer(), [PROMPT, "-"], TITLES, [[1], [2, 3]], count=10)
    assert [w.item for w in found[0]] == [1]
    assert {w.item for w in found[1]} == {2, 3}


def test_equal_titles_stand_for_their_first_item(decoder):
    [written] = write_titles(decoder, Tokenizer(), [PROMPT], TITLES, [[0, 4]], count=2)
    assert {w.item for w in written} == {0}
    [free] = write_titles(decoder, Tokenizer(), [PROMPT], ["red sea"] * 2, count=3)
    assert {w.item for w in free} <= {0, None}


def test_without_a_trie_inventions_are_found(decoder):
    [written] = write_titles(decoder, Tokenizer(), [PROMPT], TITLES, count=6, max_tokens=4)
    assert len(written) == 6
    for w in written:
        assert w.item == matching_item(w.text, TITLES)
    assert any(w.item is None for w in written)


def test_titles_match_apart_from_case_accents_and_punctuation():
    titles = ["Amélie (2001)", "", "Se7en (1995)"]
    assert matching_item("amelie  2001", titles) == 0
    assert matching_item("Seven (1995)", titles) is None


def test_bad_input_is_one_line(decoder):
    tokenizer = Tokenizer()
    with pytest.raises(InputError, match="count=0"):
        write_titles(decoder, tokenizer, [PROMPT], TITLES, count=0)
    with pytest.raises(InputError, match="0 prompts"):
        write_titles(decoder, tokenizer, [], TITLES)
    with pytest.raises(InputError, match="allowed has 2 lists for 1 prompts"):
        write_titles(decoder, tokenizer, [PROMPT], TITLES, [[0], [1]])
    with pytest.raises(InputError, match="no title is allowed"):
        write_titles(decoder, tokenizer, [PROMPT], TITLES, [[]])
    with pytest.raises(InputError, match="no title is allowed"):
        TitleTrie(tokenizer, ["red", " \n "]).tree([1])


def test_an_item_without_a_title_is_never_written(decoder):
    [written] = write_titles(decoder, Tokenizer(), [PROMPT], ["red", " \n ", "blue"], [[0, 1, 2]], count=3)
    assert {w.item for w in written} == {0, 2}


def test_the_tree_holds_exactly_the_titles():
    trie = TitleTrie(Tokenizer(), TITLES)
    tree = trie.tree(range(4))
    paths = set()
    walk = [((), tree)]
    while walk:
        path, node = walk.pop()
        for token, following in node.items():
            if token == trie.end:
                paths.add((path, following))
            else:
                walk.append(((*path, token), following))
    assert paths == {(tuple(trie.paths[i]), i) for i in range(4)}
    assert all(a != b for a, b in itertools.combinations(paths, 2))
