"""Every way to run an encoder gives its vectors, and what cannot run here says so in one line."""

import importlib.util
import json
from pathlib import Path

import encoder_cases
import numpy as np
import pytest
import torch

from recsys_lib import encoders
from recsys_lib.core.errors import InputError
from recsys_lib.data import assets
from recsys_lib.encoders import backends, native
from recsys_lib.encoders.pooling import pool
from recsys_lib.hardware import machine, timing
from recsys_lib.vectors import similarity

# Minutes in all: `make check` leaves them out, `make test` runs them.
pytestmark = pytest.mark.slow

WORDS = [*encoder_cases.WORDS, "1984", "!", "Köln", "喜欢", "a"]
needs_kernel = pytest.mark.skipif(native.load() is None, reason="no C compiler")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def cosines(a, b):
    return np.diag(similarity.cosine(a, b))


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(0)
    lengths = [0, 1, 2, 13, 14, 15, 16, 17, 31, 33, 60, 150, 400, *rng.integers(1, 20, 60)]
    return [" ".join(rng.choice(WORDS, n)) for n in lengths]


@pytest.fixture(scope="module")
def reference(texts):
    return encoders.load("minilm", precision="float32", cache=False).encode(texts, progress=False)


@pytest.fixture(scope="module")
def tiny():
    """A random BERT whose sizes leave nothing a multiple of what the kernel likes best."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(1)
    config = BertConfig(vocab_size=100, hidden_size=96, num_hidden_layers=2, num_attention_heads=3,
        intermediate_size=160, max_position_embeddings=64)  # fmt: skip
    return BertModel(config, add_pooling_layer=False).eval()


def tiny_tokens(n=40):
    rng = np.random.default_rng(2)
    return [
        (rng.integers(0, 100, size).tolist(), 0)
        for size in [1, 2, 15, 16, 17, 40, 64, *rng.integers(1, 30, n)]
    ]


def naive(model, tokens, pooling):
    with torch.inference_mode():
        rows = []
        for ids, begin in tokens:
            pooled = torch.zeros(1, len(ids))
            pooled[0, begin:] = 1
            rows.append(pool(pooling, model(input_ids=torch.tensor([ids])).last_hidden_state, pooled)[0])
    return torch.stack(rows).numpy()


# ---------------------------------------------------------------- the native path


@needs_kernel
@pytest.mark.parametrize(
    ("precision", "worst", "mean"),
    [("float32", 0.99999, 0.99999), ("bfloat16", 0.999, 0.9995), ("int8", 0.985, 0.997)],
)
def test_native_agrees_with_torch(texts, reference, precision, worst, mean):
    encoder = encoders.load("minilm", precision=precision, backend="native", cache=False)
    found = cosines(encoder.encode(texts, progress=False), reference)
    assert found.min() >= worst and found.mean() >= mean


@needs_kernel
def test_int8_on_book_titles_keeps_what_the_bench_promises():
    from recsys_lib.data import datasets

    titles = datasets.load("book-crossing").item_texts(("title", "author"))[:512]
    both = [encoders.load("minilm", precision=p, backend=b, cache=False).encode(titles, progress=False)
            for p, b in (("float32", "torch"), ("int8", "native"))]  # fmt: skip
    found = cosines(*both)
    assert found.min() >= 0.99 and found.mean() >= 0.997


@needs_kernel
@pytest.mark.parametrize("pooling", native.POOLINGS)
def test_native_pools_as_torch_does(tiny, pooling):
    tokens = [(ids, len(ids) // 3 if pooling == "echo" else 0) for ids, _ in tiny_tokens()]
    ours = native.NativeBert(tiny, "float32").encode(tokens, pooling, 2)
    assert np.allclose(ours, naive(tiny, tokens, pooling), atol=2e-4)


@needs_kernel
@pytest.mark.parametrize("precision", native.PRECISIONS)
def test_a_native_vector_depends_on_its_text_only(tiny, precision):
    tokens = tiny_tokens()
    model = native.NativeBert(tiny, precision)
    whole = model.encode(tokens, "mean", 2)
    order = np.random.default_rng(0).permutation(len(tokens))
    assert np.array_equal(model.encode([tokens[i] for i in order], "mean", 1), whole[order])
    assert np.array_equal(model.encode(tokens[6:7], "mean", 3), whole[6:7])
    assert model.encode([], "mean", 2).shape == (0, 96)


@needs_kernel
@pytest.mark.parametrize("precision", native.PRECISIONS)
def test_without_amx_the_same(tiny, precision):
    with_amx, without = (
        native.NativeBert(tiny, precision, amx=amx).encode(tiny_tokens(), "mean", 1) for amx in (True, False)
    )
    assert np.allclose(with_amx, without, atol=1e-5 if precision != "bfloat16" else 2e-2)


@needs_kernel
@pytest.mark.parametrize(
    ("march", "flag"), [("x86-64", ""), ("x86-64-v3", "avx2"), ("cascadelake", "avx512_vnni")]
)
@pytest.mark.parametrize("precision", native.PRECISIONS)
def test_older_processors_get_the_same_numbers(tiny, march, flag, precision):
    if machine.describe()["architecture"] != "x86_64" or (flag and flag not in machine.describe()["flags"]):
        pytest.skip(f"this processor has no {flag}")
    library = native.compiled((f"-march={march}",))
    older = native.NativeBert(tiny, precision, library=library).encode(tiny_tokens(), "mean", 1)
    ours = native.NativeBert(tiny, precision).encode(tiny_tokens(), "mean", 1)
    # A sum in another order can tip one activation to the next code.
    assert np.allclose(older, ours, atol={"float32": 1e-5, "bfloat16": 5e-2, "int8": 5e-2}[precision])
    assert cosines(older, ours).min() > 0.9999


def test_quantized_rows_lose_half_a_step_at_most():
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((7, 50)).astype(np.float32) * rng.uniform(0.01, 100, (7, 1)).astype(
        np.float32
    )
    weight[3] = 0
    codes, step = native.quantize_rows(weight)
    assert (np.abs(weight - codes * step[:, None]) <= step[:, None] * 0.5001).all()
    assert codes.dtype == np.int8 and not codes[3].any()


@needs_kernel
def test_native_refuses_what_it_cannot_run(tmp_path):
    from transformers import AutoTokenizer, BertConfig, BertModel

    from recsys_lib.core.quiet import quiet

    config = BertConfig(
        vocab_size=30522, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64
    )
    with quiet():
        BertModel(config).save_pretrained(tmp_path)
        AutoTokenizer.from_pretrained(assets.locate("minilm")).save_pretrained(tmp_path)
    encoder = encoders.load(str(tmp_path), precision="int8", backend="native", cache=False)
    with pytest.raises(
        InputError, match="heads of a multiple of 16 dimensions and layers of 32, not 8 and 32"
    ):
        encoder.encode(["a"])
    with pytest.raises(InputError, match="runs encoders on a CPU, not a decoder"):
        encoders.load("smollm2", precision="int8", backend="native", cache=False).encode(["a"])


def test_without_a_compiler_there_is_one_line(monkeypatch):
    monkeypatch.setattr(native, "load", lambda: None)
    with pytest.raises(InputError, match="needs a C compiler"):
        encoders.load("minilm", precision="int8", backend="native", cache=False).encode(["a"])
    assert native.instructions() == "no compiler"


# ---------------------------------------------------------------- the others


def test_int8_over_torch(texts, reference):
    found = cosines(
        encoders.load("minilm", precision="int8", cache=False).encode(texts, progress=False), reference
    )
    assert found.min() > 0.97 and found.mean() > 0.995


@pytest.mark.parametrize(("backend", "precision", "worst"), [
    ("openvino", "float32", 0.9999), ("openvino", "bfloat16", 0.99), ("openvino", "int8", 0.9),
    ("onnxruntime", "float32", 0.9999), ("onnxruntime", "int8", 0.8), ("torchao", "int8-weight", 0.99),
])  # fmt: skip
def test_peers_give_the_same_vectors(texts, reference, backend, precision, worst):
    if any(importlib.util.find_spec(p) is None for p in backends.PACKAGES[backend]):
        pytest.skip(f"{backend} is not installed")
    encoder = encoders.load("minilm", precision=precision, backend=backend, cache=False)
    assert cosines(encoder.encode(texts, progress=False), reference).min() >= worst


def test_a_missing_peer_is_one_line(monkeypatch):
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        InputError, match="needs openvino, nncf: run pip install --no-deps -r requirements-bench"
    ):
        encoders.load("minilm", precision="int8", backend="openvino", cache=False).encode(["a"])


@pytest.mark.parametrize(("options", "message"), [
    ({"backend": "tensorrt"}, "backend='tensorrt': expected auto, torch, compile"),
    ({"precision": "int3"}, "precision='int3': expected one of auto, float32"),
])  # fmt: skip
def test_bad_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        encoders.load("minilm", **options)


def test_a_precision_that_a_backend_lacks_is_named():
    with pytest.raises(InputError, match="precision 'bfloat16': backend 'onnxruntime' has float32, int8"):
        encoders.load("minilm", precision="bfloat16", backend="onnxruntime", cache=False).encode(["a"])


@needs_kernel
def test_vectors_are_cached_apart(own_cache):
    for precision, backend in (
        ("float32", "torch"),
        ("float32", "native"),
        ("int8", "native"),
        ("int8", "torch"),
    ):
        encoders.load("minilm", precision=precision, backend=backend).encode(["Toy Story"], progress=False)
    assert len(list((own_cache / "vectors").glob("*.sqlite"))) == 4


def test_auto_measures_once_and_remembers(own_cache, one_sample, monkeypatch):
    monkeypatch.setattr(backends, "CANDIDATES", ("native", "torch"))
    chosen = encoders.load("minilm", precision="float32", backend="auto", cache=False)
    (entry,) = json.loads((own_cache / "backends.json").read_text()).values()
    assert entry["backend"] == chosen.backend == max(entry["texts_per_s"], key=entry["texts_per_s"].get)
    monkeypatch.setattr(timing, "compare", lambda *a, **k: pytest.fail("measured again"))
    assert encoders.load("minilm", precision="float32", backend="auto", cache=False).backend == chosen.backend


# ---------------------------------------------------------------- on a GPU


@needs_gpu
@pytest.mark.parametrize(("backend", "precision", "worst"), [
    ("torch", "float16", 0.999), ("torch", "bfloat16", 0.99), ("torch", "int8", 0.97),
    ("compile", "float16", 0.999),
])  # fmt: skip
def test_gpu_paths_give_the_same_vectors(texts, reference, backend, precision, worst):
    encoder = encoders.load("minilm", precision=precision, backend=backend, device="cuda", cache=False)
    assert cosines(encoder.encode(texts, progress=False), reference).min() >= worst
    # One text: a recorded graph of its own.
    assert np.isfinite(encoder.encode(texts[:1], progress=False)).all()


def test_auto_precision_is_measured_once_and_a_damaged_memory_is_rebuilt(own_cache, monkeypatch):
    answers = iter([True, False])
    monkeypatch.setattr(machine, "bfloat16_is_faster", lambda: next(answers))
    assert [backends.fast_precision("cpu", "m", "torch") for _ in range(3)] == ["bfloat16"] * 3
    (own_cache / "precision.json").write_text("{")
    assert backends.fast_precision("cpu", "m", "torch") == "float32"
    assert backends.fast_precision("cuda", "m", "torch") == "bfloat16"


def test_backends_know_no_encoder_class():
    """The circle of imports is gone: ``backends`` says by a protocol what it asks of an encoder."""
    source = Path(backends.__file__).read_text(encoding="utf-8")
    assert "encoders.transformer" not in source


def test_int8_linear_is_near_the_linear_it_replaces():
    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 48)
    x = torch.randn(2, 20, 64)
    rounded = backends.Int8Linear(linear)
    assert isinstance(rounded, torch.nn.Module) and rounded(x).shape == (2, 20, 48)
    assert torch.allclose(rounded(x), linear(x), atol=0.05)


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
def test_a_broken_conversion_leaves_nothing(own_cache, monkeypatch):
    import openvino

    def broken(model, path, **options):
        Path(path).write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(openvino, "save_model", broken)
    with pytest.raises(KeyboardInterrupt):
        encoders.load("minilm", precision="float32", backend="openvino", cache=False).encode(["a"])
    assert not list((own_cache / "converted").iterdir())
