"""Loading decoders: precisions, chat templates, answers as tokens, and what is refused."""

import pytest
import torch
from tiny_models import tiny_folder

from recsys_lib.core.errors import InputError
from recsys_lib.llm import int8_linear, language_model
from recsys_lib.llm.int8_linear import Int8Linear
from recsys_lib.llm.packed_attention import Group, extend


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_folder(tmp_path_factory.mktemp("tiny"))


def test_the_chat_template_is_cut_where_the_message_stands(folder):
    model = language_model.load(str(folder), device="cpu")
    assert model.chat == ("<|user|>", "<|end|><|assistant|>")


def test_a_model_without_chat_template_has_a_line_break_instead(tmp_path):
    model = language_model.load(str(tiny_folder(tmp_path, chat=None)), device="cpu")
    assert model.chat == ("", "\n")


def test_a_template_that_drops_the_message_is_refused(tmp_path):
    model = language_model.load(str(tiny_folder(tmp_path, chat="hello")), device="cpu")
    with pytest.raises(InputError, match="drops the message"):
        _ = model.chat


def test_an_answer_of_several_tokens_is_told_by_its_first(folder):
    model = language_model.load(str(folder), device="cpu")
    assert len(model.ids("Yes")) == 3
    assert model.answer_tokens(["Yes", "No"]) == [model.ids("Y")[0], model.ids("N")[0]]
    with pytest.raises(InputError, match="'No' and 'Not' begin with the same token"):
        model.answer_tokens(["No", "Not"])


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.2), ("int8", 0.2), ("int4", 1.5)])
def test_fewer_bits_stay_near_float32(folder, precision, tolerance):
    exact, rounded = (language_model.load(str(folder), p, "cpu") for p in ("float32", precision))
    ids = list(range(40, 80))
    hidden = [extend(m, [Group(None, [ids])]).last() for m in (exact, rounded)]
    logits = [m.logits(h) for m, h in zip((exact, rounded), hidden, strict=True)]
    assert (logits[0] - logits[1]).abs().mean() < tolerance * logits[0].std()
    assert exact.n_parameters == rounded.n_parameters


def test_int8_linear_has_a_step_for_every_row():
    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 16)
    x = torch.randn(3, 64) * torch.tensor([[1e-3], [1.0], [1e3]])
    with torch.inference_mode():
        error = (Int8Linear(linear)(x) - linear(x)).abs().amax(dim=1)
        scale = linear(x).abs().amax(dim=1)
    assert (error < 0.03 * scale).all()


def test_int8_linear_is_right_for_large_codes_on_every_processor(monkeypatch):
    linear = torch.nn.Linear(64, 32, bias=False)
    torch.nn.init.ones_(linear.weight)
    x = torch.ones(4, 64)
    with torch.inference_mode():
        assert (Int8Linear(linear)(x) - 64).abs().max() < 0.5
        monkeypatch.setattr(int8_linear, "saturates", lambda: True)
        shorter = Int8Linear(linear)
        assert shorter.reduced and (shorter(x) - 64).abs().max() < 1
        drawn = torch.randn(4, 64)
        assert (shorter(drawn) - linear(drawn)).abs().max() < 0.03 * linear(drawn).abs().max()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("smollm2", "int3"), "precision='int3': expected one of float32"),
        (("no-such-model",), "no-such-model"),
        (("smollm2", "float32", "tpu"), "device='tpu': expected cpu or cuda"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        language_model.load(*arguments)
    assert "\n" not in str(caught.value)


def test_an_encoder_is_refused():
    with pytest.raises(InputError, match="decoder"):
        language_model.load("minilm", device="cpu")
