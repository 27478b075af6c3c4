"""Packed passes over shared prefixes give what one plain forward per prompt gives."""

import pytest
import torch
from tiny_models import plain_logits, tokens

from recsys_lib.core.errors import InputError
from recsys_lib.llm.packed_attention import CHUNK_TOKENS, Group, extend


def test_a_tree_of_prefixes_gives_the_logits_of_whole_prompts(folder, torch_model):
    root, histories = tokens(7), [tokens(11, 1), tokens(3, 2)]
    # More tokens than a chunk holds, and segments of one token.
    questions = [[tokens(40, 10 + i) for i in range(5)], [tokens(1, 20), tokens(9, 21)]]
    assert sum(map(len, questions[0])) > CHUNK_TOKENS
    top = extend(torch_model, [Group(None, [root])], keep=True).prefixes[0]
    users = extend(torch_model, [Group(top, histories)], keep=True).prefixes
    assert [u.length for u in users] == [18, 10]
    found = extend(torch_model, [Group(u, q) for u, q in zip(users, questions, strict=True)])
    logits = iter(torch_model.logits(found.last()))
    for history, asked in zip(histories, questions, strict=True):
        for question in asked:
            expected = plain_logits(folder, root + history + question)[-1]
            torch.testing.assert_close(next(logits), expected, rtol=1e-4, atol=1e-4)


def test_segments_without_a_prefix_do_not_see_each_other(folder, torch_model):
    segments = [tokens(5, 1), tokens(8, 2), tokens(2, 3)]
    found = extend(torch_model, [Group(None, segments)], every=True)
    for end, segment in zip(found.ends, segments, strict=True):
        ours = torch_model.logits(found.hidden[end - len(segment) : end])
        torch.testing.assert_close(ours, plain_logits(folder, segment), rtol=1e-4, atol=1e-4)


def test_chosen_logits_are_those_of_the_whole_head(torch_model):
    hidden = extend(torch_model, [Group(None, [tokens(6)])]).last()
    torch.testing.assert_close(torch_model.logits(hidden, [3, 200]), torch_model.logits(hidden)[:, [3, 200]])


def test_a_prompt_beyond_the_positions_is_one_line(torch_model):
    with pytest.raises(InputError, match=r"a prompt of 1025 tokens: model .* has 1024 positions"):
        extend(torch_model, [Group(None, [tokens(1025)])])


@pytest.mark.parametrize("groups", [[], [Group(None, [])], [Group(None, [[]])]])
def test_nothing_to_read_is_one_line(torch_model, groups):
    with pytest.raises(InputError, match="expected at least one"):
        extend(torch_model, groups)
