"""Codes beside other libraries', read, refused and saved."""

import dataclasses
import pickle

import faiss
import numpy as np
import pytest
from quantization_cases import CLOUD, OWN, SMALL, distances

from recsys_lib.core.errors import InputError
from recsys_lib.vectors import quantization
from recsys_lib.vectors.quantization import SCHEMES, QuantizedVectors, stored

# ---------------------------------------------------------------- peers


@pytest.mark.parametrize(("subspaces", "bits"), [(3, 8), (7, 4), (7, 6), (21, 1)])
def test_product_codes_are_faisss(subspaces, bits):
    q = quantization.quantize(CLOUD, "pq", subspaces=subspaces, bits=bits)
    reference = faiss.ProductQuantizer(21, subspaces, bits)
    faiss.copy_array_to_vector(q.codebook.ravel(), reference.centroids)
    assert q.codes.shape == (300, reference.code_size)
    assert np.array_equal(reference.decode(q.codes), q.dequantize())
    # As near as faiss's own choice among the same centroids; a tie may fall either way.
    theirs = np.linalg.norm(CLOUD - reference.decode(reference.compute_codes(CLOUD)), axis=1)
    assert np.allclose(distances(CLOUD, q), theirs, rtol=1e-4, atol=1e-6)


def test_product_codebook_is_as_good_as_faisss():
    v = np.random.default_rng(1).standard_normal((600, 16)).astype(np.float32)
    reference = faiss.ProductQuantizer(16, 4, 4)
    reference.train(v)
    theirs = np.square(v - reference.decode(reference.compute_codes(v))).mean()
    ours = np.square(distances(v, quantization.quantize(v, "pq", subspaces=4, bits=4))).mean() / 16
    assert ours == pytest.approx(theirs, rel=0.05)


def test_product_codes_where_subspaces_do_not_divide():
    q = quantization.quantize(CLOUD, "pq", subspaces=4, bits=5)
    assert q.codebook.shape == (4, 32, 6) and q.dequantize().shape == CLOUD.shape
    assert (distances(CLOUD, q) <= q.errors).all()
    assert q.bytes_per_vector == pytest.approx(3 + 4 * 32 * 6 * 4 / 300)


def test_int8_per_dimension_errs_as_faisss_scalar_quantizer():
    reference = faiss.ScalarQuantizer(21, faiss.ScalarQuantizer.QT_8bit)
    reference.train(CLOUD)
    theirs = np.linalg.norm(CLOUD - reference.decode(reference.compute_codes(CLOUD)), axis=1).mean()
    ours = distances(CLOUD, quantization.quantize(CLOUD, "int8-dimension")).mean()
    assert ours == pytest.approx(theirs, rel=0.05)


def test_int8_per_dimension_is_that_of_sentence_transformers_but_rounded():
    from sentence_transformers.util import quantize_embeddings

    theirs = quantize_embeddings(CLOUD, "int8")
    ours = quantization.quantize(CLOUD, "int8-dimension").codes
    # The same ranges and steps; they round down, which is half a step off on average.
    assert np.abs(theirs.astype(int) - ours).max() <= 1
    assert (theirs.astype(int) - ours).mean() == pytest.approx(-0.5, abs=0.05)


def test_binary_without_centring_is_that_of_sentence_transformers():
    from sentence_transformers.util import quantize_embeddings

    q = quantization.quantize(CLOUD, "binary", centre=False)
    assert np.array_equal(q.codes, quantize_embeddings(CLOUD, "ubinary"))


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize("scheme", SCHEMES)
def test_rows_are_decoded_alone_as_together(scheme):
    q = quantization.quantize(CLOUD, scheme)
    everything = q.dequantize()
    exact = not scheme.startswith("pca")
    mask = np.zeros(300, dtype=bool)
    mask[[5, 9]] = True
    for rows in (np.array([7, 7, 0]), slice(250, None), mask, [1], []):
        part, expected = (
            q.dequantize(rows),
            everything[rows if len(np.shape(rows)) == 0 or len(rows) else slice(0)],
        )
        assert part.shape == expected.shape and part.dtype == np.float32
        assert np.array_equal(part, expected) if exact else np.allclose(part, expected, atol=1e-5)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_same_input_same_codes(scheme):
    first, second = (quantization.quantize(CLOUD, scheme) for _ in range(2))
    for name in ("codes", "scale", "offset", "errors", "codebook"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
    assert np.array_equal(pickle.loads(pickle.dumps(first)).dequantize(), first.dequantize())


def test_seed_changes_the_codebook():
    first, second = (quantization.quantize(CLOUD, "pq", bits=4, seed=s) for s in (0, 1))
    assert not np.array_equal(first.codebook, second.codebook)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_rows_are_coded_alone_as_together(scheme):
    quantizer = quantization.calibrate(CLOUD, scheme)
    many = np.vstack([CLOUD] * 5)  # more than one block
    q = quantizer.quantize(many)
    assert np.array_equal(q.codes[-300:], quantizer.quantize(CLOUD).codes)
    one = quantizer.quantize(CLOUD[7:8])
    assert len(one) == 1 and np.abs(one.dequantize() - q.dequantize([7])).max() < 1e-4


@pytest.mark.parametrize("scheme", SCHEMES)
def test_bytes_count_everything_that_is_stored(scheme):
    q = quantization.quantize(CLOUD, scheme)
    arrays = (q.codes, q.scale, q.offset, q.codebook)
    assert q.bytes_per_vector == pytest.approx(sum(a.nbytes for a in arrays) / 300)
    assert (q.bytes_among(10**9) < q.bytes_per_vector) == bool(q.shared_bytes)
    bytes_of_one = {"float32": 84, "float16": 42, "bfloat16": 42, "int8": 25, "int8-offset": 29,
        "int8-dimension": 21,
                    "int4": 15, "pq": 2, "binary": 7, "pca": 20, "pca-int8": 9}  # fmt: skip
    assert q.bytes_among(10**9) == pytest.approx(bytes_of_one[scheme], abs=1e-3)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_vectors(scheme):
    q = quantization.calibrate(CLOUD, scheme).quantize(np.empty((0, 21)))
    assert len(q) == 0 and q.dequantize().shape == (0, 21) and q.errors.shape == (0,)
    assert q.bytes_per_vector > 0 and q.cosine_errors().shape == (0,)
    if scheme in OWN:
        assert quantization.quantize(np.empty((0, 21)), scheme).codes.shape == q.codes.shape
    else:
        with pytest.raises(InputError, match="not 0"):
            quantization.quantize(np.empty((0, 21)), scheme)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_one_vector_of_one_component(scheme):
    q = quantization.calibrate(np.array([[2.0], [2.5]]), scheme, **SMALL.get(scheme, {})).quantize(
        np.array([[2.0]])
    )
    assert q.dequantize().shape == (1, 1)
    assert abs(float(q.dequantize()[0, 0]) - 2) <= q.errors[0] <= 0.6


@pytest.mark.parametrize("scheme", SCHEMES)
def test_equal_vectors_get_equal_codes(scheme):
    v = np.repeat(CLOUD[:4], 80, axis=0)
    q = quantization.quantize(v, scheme)
    assert (q.codes.reshape(4, 80, -1) == q.codes.reshape(4, 80, -1)[:, :1]).all()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_layout_and_dtype_of_the_input_do_not_matter(scheme):
    q = quantization.quantize(CLOUD, scheme)
    for same in (np.asfortranarray(CLOUD), CLOUD.astype(np.float64), CLOUD[::-1][::-1]):
        assert np.array_equal(quantization.quantize(same, scheme).codes, q.codes)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_is_refused_naming_the_row(scheme, bad):
    v = CLOUD.copy()
    v[17, 2] = bad
    with pytest.raises(InputError, match="row 17"):
        quantization.quantize(v, scheme)
    with pytest.raises(InputError, match="row 17"):
        quantization.calibrate(CLOUD, scheme).quantize(v)


def test_a_number_beyond_float32_is_refused():
    with pytest.raises(InputError, match="row 1"):
        quantization.quantize(np.array([[1.0], [1e39]]), "int8")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_other_dimension_is_refused(scheme):
    with pytest.raises(InputError, match="21"):
        quantization.calibrate(CLOUD, scheme).quantize(CLOUD[:, :5])


@pytest.mark.parametrize(
    ("scheme", "options", "message"),
    [
        ("int7", {}, "int8-dimension"),
        ("int8", {"bits": 8}, "calibration, percentile"),
        ("float16", {"seed": 1}, "none"),
        ("int8", {"calibration": "max"}, "percentile"),
        ("int4", {"percentile": 40.0}, "above 50"),
        ("int4", {"group": 22}, "1 to 21"),
        ("int4", {"group": 0}, "1 to 21"),
        ("pca", {"dimensions": 22}, "1 to 21"),
        ("pca-int8", {"dimensions": 0}, "1 to 21"),
        ("pq", {"subspaces": 22}, "1 to 21"),
        ("pq", {"bits": 13}, "1 to 12"),
        ("pq", {"bits": 9}, "bits=8"),
    ],
)
def test_bad_arguments_are_refused(scheme, options, message):
    with pytest.raises(InputError, match=message):
        quantization.quantize(CLOUD, scheme, **options)


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (4, 0)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(InputError, match="shape"):
        quantization.quantize(np.zeros(shape), "int8")


def test_queries_of_another_dimension_are_refused():
    with pytest.raises(InputError, match="21"):
        quantization.quantize(CLOUD, "int8").dot_errors(np.zeros((2, 20)))


# ---------------------------------------------------------------- saved


@pytest.mark.parametrize("n", [0, 1, 300])
@pytest.mark.parametrize(
    ("scheme", "options"), [*((s, {}) for s in SCHEMES), ("int4", {"group": 5}), ("pq", {"bits": 4})]
)
def test_saved_codes_come_back_in_every_bit(scheme, options, n, tmp_path):
    v = np.random.default_rng(0).standard_normal((400, 24)).astype(np.float32)
    made = quantization.calibrate(v, scheme, **options).quantize(v[:n])
    made.save(tmp_path)
    found = QuantizedVectors.load(tmp_path)
    assert (found.scheme, found.dimension, found.shared_bytes) == (
        made.scheme,
        made.dimension,
        made.shared_bytes,
    )
    for name in ("codes", "scale", "offset", "errors", "codebook"):
        assert np.array_equal(getattr(found, name), getattr(made, name))
        assert getattr(found, name).dtype == getattr(made, name).dtype
    assert np.array_equal(found.dequantize(), made.dequantize())
    assert found.bytes_among(0) == made.bytes_among(0)


def test_codes_that_cannot_be_read_are_told_in_one_line(tmp_path):
    made = quantization.quantize(np.eye(4), "int8")
    stored.save(dataclasses.replace(made, scheme="int3"), tmp_path)
    with pytest.raises(InputError, match="scheme 'int3': expected one of float32, float16"):
        QuantizedVectors.load(tmp_path)
    made.save(tmp_path)
    next(tmp_path.glob("*.safetensors")).write_bytes(b"")
    with pytest.raises(InputError, match="damaged"):
        QuantizedVectors.load(tmp_path)
