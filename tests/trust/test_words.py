"""Attribution of a text's score: axioms, known answers, and the names in a rationale."""

import itertools

import numpy as np
import pytest

from recsys_lib import encoders
from recsys_lib.core.errors import InputError
from recsys_lib.trust.explanations import rationale, words
from recsys_lib.vectors import similarity

WEIGHTS = {"alien": 3.0, "horror": 2.0, "1979": 0.5}


def additive(texts):
    return np.array([sum(WEIGHTS.get(word.lower(), 0.0) for word in text.split()) for text in texts])


def test_occlusion_of_a_sum_gives_its_summands():
    found, values = words.occlusion(additive, "Alien the Horror 1979")
    assert found == ["Alien", "the", "Horror", "1979"]
    assert values.tolist() == [3.0, 0.0, 2.0, 0.5]
    with pytest.raises(InputError, match="at least one word"):
        words.occlusion(additive, "  ")


def interacting(texts):
    return np.array([len(set(text.split())) ** 2 + additive([text])[0] for text in texts], dtype=float)


def test_shapley_values_are_the_mean_over_all_orders_and_add_up():
    fields = {"title": "alien", "genres": "horror", "year": "1979"}
    found = words.shapley(interacting, fields, lambda part: " ".join(part.values()))
    by_order = dict.fromkeys(fields, 0.0)
    for order in itertools.permutations(fields):
        for place, name in enumerate(order):
            before, after = (" ".join(fields[n] for n in order[:stop]) for stop in (place, place + 1))
            by_order[name] += (interacting([after])[0] - interacting([before])[0]) / 6
    assert found == pytest.approx(by_order)
    assert sum(found.values()) == pytest.approx(interacting(["alien horror 1979"])[0])
    with pytest.raises(InputError, match="1 to 8"):
        words.shapley(additive, {}, str)


def test_integrated_gradients_are_complete_and_agree_with_the_encoder():
    encoder = encoders.load("minilm", precision="float32")
    text = "The Usual Suspects (1995). Crime, Thriller"
    user = encoder.encode(["A thriller about a heist"], progress=False)[0]
    mean = np.full(encoder.dimension, 0.01, np.float32)
    matrix = np.eye(encoder.dimension, dtype=np.float32)
    found = words.integrated_gradients(encoder, text, user, mean, matrix, steps=128)
    vector = encoder.encode([text], progress=False) - mean
    assert found.score == pytest.approx(float(similarity.cosine(vector, user[None])[0, 0]), abs=1e-5)
    assert found.gap < 0.02 * abs(found.score - found.baseline)
    joined, values = words.word_values(found)
    assert "suspects" in joined and values.sum() == pytest.approx(found.values.sum())
    with pytest.raises(InputError, match="expected mean"):
        words.integrated_gradients(encoder, text, user, steps=1)


def test_integrated_gradients_of_a_linear_function_are_exact():
    import torch

    class Linear:
        """Embeddings pass through unchanged, so that the vector is their mean."""

        pooling = "mean"

        class tokenizer:
            all_special_ids = (0,)
            pad_token_id = 1
            convert_ids_to_tokens = staticmethod(lambda ids: [str(i) for i in ids])

        def __init__(self):
            self.table = torch.nn.Embedding.from_pretrained(torch.eye(6))

        def tokenize(self, texts):
            return [([int(word) for word in text.split()], 0) for text in texts]

        @property
        def model(self):
            return self

        def get_input_embeddings(self):
            return self.table

        def __call__(self, inputs_embeds):
            return type("Out", (), {"last_hidden_state": inputs_embeds})

    user = np.array([0, 0, 1, 0, 0, 0], np.float32)
    found = words.integrated_gradients(Linear(), "0 2 3", user, steps=400)
    assert found.tokens == ("2", "3") and found.gap < 1e-4
    assert found.values[0] > 10 * abs(found.values[1])


TITLES = ["Alien", "Aliens", "Star Wars", "M", "The Empire Strikes Back", "Alien"]


def test_a_rationale_names_items_of_the_history_and_others():
    text = 'Because you liked "Aliens" and star wars: The Empire Strikes Back suits you, M too.'
    found = rationale.named(text, TITLES, history=[1, 2], target=4)
    assert (found.history, found.others, found.target) == ((1, 2), (), True)
    assert rationale.named("Watch Alien again", TITLES, history=[5], target=4).history == (5,)
    assert rationale.named("Watch Alien again", TITLES, history=[2], target=4).others == (0,)
    assert rationale.named("", TITLES, history=[], target=4) == rationale.Named((), (), False)
    with pytest.raises(InputError, match="expected an item"):
        rationale.named("", TITLES, [], 9)


def test_the_prompt_lists_the_history_and_the_target():
    text = rationale.prompt(["Alien", "Aliens"], "Predator")
    assert "- Alien\n- Aliens\n" in text and "the film Predator" in text
