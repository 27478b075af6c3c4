"""llama.cpp as backend: the same scores as torch, sequences that share prefixes, and the GGUF file.

Where llama-cpp-python is not installed, a double of it by torch takes its place.
"""

import gc
import sys

import numpy as np
import pytest
import torch
from llama_cpp_double import Double
from tiny_models import tokens

from recsys_lib.core.errors import InputError
from recsys_lib.llm import gguf_file, language_model, llama_cpp_model, rerank
from recsys_lib.llm.finetune.decoder import DecoderTuner
from recsys_lib.llm.packed_attention import Group, differentiable
from recsys_lib.llm.prompts import Prompts

LISTS = rerank.Lists(
    [["Alien", "Brazil"], [], ["Fargo"]], [["Heat", "Big", "Jaws"], ["Kids", "Antz"], ["Speed", "Se7en"]]
)
METHODS = {
    "yes/no": lambda prompts: rerank.YesNo(prompts, users_at_once=2),
    "likelihood": rerank.TitleLikelihood,
    "first token": rerank.FirstToken,
    "heap": rerank.HeapSort,
    "written": lambda prompts: rerank.WrittenPermutation(prompts, window=2, step=1),
}


@pytest.fixture(params=["double", "llama_cpp"])
def backend(request, folder, monkeypatch):
    """``load`` with the backend: by the double, and by the library where it is installed."""
    if request.param == "llama_cpp":
        pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    else:
        double = Double(folder, llama_cpp_model.CELLS)
        monkeypatch.setattr(llama_cpp_model, "library", lambda: double)
    return lambda precision="float32": language_model.load(str(folder), precision, "cpu", "llama.cpp")


@pytest.mark.parametrize("method", sorted(METHODS))
def test_scores_are_those_of_torch(torch_model, backend, method):
    found, usage = rerank.rerank(METHODS[method](Prompts(backend())), LISTS)
    expected, work = rerank.rerank(METHODS[method](Prompts(torch_model)), LISTS)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
    assert (usage.read_tokens, usage.written_tokens) == (work.read_tokens, work.written_tokens)


def test_a_tree_of_prefixes_gives_the_logits_of_torch(torch_model, backend):
    found = []
    for model in (torch_model, backend()):
        top = model.extend([Group(None, [tokens(7)])], keep=True).prefixes[0]
        users = model.extend([Group(top, [tokens(11, 1), tokens(3, 2)])], keep=True).prefixes
        assert [u.length for u in users] == [18, 10]
        groups = [Group(users[0], [tokens(40, 3), tokens(1, 4)]), Group(users[1], [tokens(9, 5)])]
        every, last = (model.extend(groups, every=e) for e in (True, False))
        assert every.ends == [40, 41, 50] and last.ends == [1, 2, 3]
        torch.testing.assert_close(every.last(), last.last(), rtol=1e-4, atol=1e-4)
        found.append(model.logits(every.hidden))
        torch.testing.assert_close(
            model.logits(last.last(), [3, 200]), model.logits(last.last())[:, [3, 200]]
        )
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-3)


def test_what_does_not_fit_at_once_is_read_in_parts(torch_model, backend, monkeypatch):
    monkeypatch.setattr(llama_cpp_model, "SEQUENCES", 4)
    model = backend()
    top = model.extend([Group(None, [tokens(5)])], keep=True).prefixes[0]
    groups = [Group(top, [tokens(6, i) for i in range(10)])]
    top = torch_model.extend([Group(None, [tokens(5)])], keep=True).prefixes[0]
    expected = torch_model.logits(torch_model.extend([Group(top, groups[0].segments)]).last())
    torch.testing.assert_close(model.extend(groups).last(), expected, rtol=1e-4, atol=1e-3)
    assert len(model.model.free) == 3


def test_prefixes_that_nobody_holds_leave_the_cache(backend):
    model = backend()
    for _ in range(3):
        held = model.extend([Group(None, [tokens(5), tokens(6)])], keep=True).prefixes
        assert len(model.model.free) == llama_cpp_model.SEQUENCES - 2
        del held
        gc.collect()
        assert len(model.model.released) == 2
        model.extend([Group(None, [tokens(2)])])
        assert len(model.model.free) == llama_cpp_model.SEQUENCES


def test_a_full_cache_is_one_line(folder, monkeypatch):
    monkeypatch.setattr(llama_cpp_model, "library", lambda: Double(folder, 20))
    model = language_model.load(str(folder), "float32", "cpu", "llama.cpp")
    held = model.extend([Group(None, [tokens(12)])], keep=True).prefixes
    with pytest.raises(InputError, match=r"9 tokens beside 1 prefixes: llama\.cpp's cache of") as caught:
        model.extend([Group(held[0], [tokens(9), tokens(9)])])
    assert "\n" not in str(caught.value)
    # Nothing is left of the failed call.
    assert len(model.extend([Group(held[0], [tokens(8)])]).hidden) == 1


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("float16", 0.02), ("bfloat16", 0.2), ("int8", 0.2), ("int4", 1.5)]
)
def test_fewer_bits_stay_near_float32(folder, torch_model, precision, tolerance):
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    model = language_model.load(str(folder), precision, "cpu", "llama.cpp")
    groups = [Group(None, [tokens(30)])]
    exact, rounded = (m.logits(m.extend(groups).last()) for m in (torch_model, model))
    assert 0 < (exact - rounded).abs().mean() < tolerance * exact.std()
    assert model.n_parameters == torch_model.n_parameters


@pytest.mark.parametrize("groups", [[], [Group(None, [[]])], [Group(None, [[1] * 1025])]])
def test_what_cannot_be_read_is_refused_as_by_torch(torch_model, backend, groups):
    said = []
    for model in (torch_model, backend()):
        with pytest.raises(InputError) as caught:
            model.extend(groups)
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_gradients_are_refused(backend):
    model = backend()
    for ask in (lambda: differentiable(model, [1, 2]), lambda: DecoderTuner(Prompts(model))):
        with pytest.raises(InputError, match="expected backend='torch' for gradients"):
            ask()


def test_without_the_package_one_line_says_how_to_get_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with pytest.raises(InputError, match="run pip install --no-deps llama-cpp-python diskcache") as caught:
        language_model.load(str(folder), "float32", "cpu", "llama.cpp")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("precision", "backend", "message"),
    [
        ("float32", "onnx", "backend='onnx': expected one of torch, llama.cpp"),
        ("float16", "torch", "precision='float16': expected one of float32, bfloat16"),
        ("int3", "llama.cpp", "precision='int3': expected one of float32, float16"),
    ],
)
def test_mistakes_are_one_line(precision, backend, message):
    with pytest.raises(InputError, match=message):
        language_model.load("smollm2", precision, "cpu", backend)


@pytest.mark.parametrize("change", [{"model_type": "gpt2"}, {"rope_parameters": {"rope_type": "llama3"}}])
def test_models_that_the_file_cannot_hold_are_refused(torch_model, change):
    config = type(torch_model.model.config)(**torch_model.model.config.to_dict() | {"rope_parameters": None})
    for name, value in change.items():
        setattr(config, name, value)
    with pytest.raises(InputError, match="use backend='torch'"):
        gguf_file.check(config)


@pytest.mark.parametrize("precision", sorted(gguf_file.TYPES))
def test_the_file_holds_the_weights(folder, torch_model, tmp_path, precision):
    from gguf import GGUFReader
    from gguf.quants import dequantize

    model = torch_model.model
    gguf_file.write(model, tmp_path / "a.gguf", precision)
    tensors = {t.name: t for t in GGUFReader(tmp_path / "a.gguf").tensors}
    assert sum(int(t.n_elements) for t in tensors.values()) == torch_model.n_parameters
    gate = model.model.layers[1].mlp.gate_proj.weight
    read = tensors["blk.1.ffn_gate.weight"]
    assert read.tensor_type.name == gguf_file.TYPES[precision]
    step = {"float32": 0, "float16": 1e-3, "bfloat16": 8e-3, "int8": 8e-3, "int4": 0.07}[precision]
    values = dequantize(read.data, read.tensor_type)
    np.testing.assert_allclose(values, gate.numpy(), atol=step * float(gate.abs().max()) * 2)
    assert tensors["blk.0.attn_norm.weight"].tensor_type.name == "F32"
    # 48 is no multiple of 32.
    whole = tensors["blk.0.ffn_down.weight"].tensor_type.name == "F32"
    assert whole == (precision in ("float32", "int8", "int4"))
