"""Every code keeps its promise: the bound holds for each vector, ranges saturate, peers agree,
bad input is refused.
"""

import dataclasses
import pickle

import faiss
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recsys_lib.core.errors import InputError
from recsys_lib.vectors import geometry, quantization, similarity
from recsys_lib.vectors.quantization import SCHEMES, QuantizedVectors, bounds, floats, integers, stored

rng = np.random.default_rng(0)
CLOUD = (rng.standard_normal((300, 21)) * np.linspace(2, 0.2, 21) + np.linspace(-1, 3, 21)).astype(np.float32)
# Schemes that learn nothing from other vectors.
OWN = ("float32", "float16", "bfloat16", "int8", "int8-offset", "int4")
SMALL = {"pq": {"bits": 1, "subspaces": 1}}
VARIANTS = [(s, SMALL.get(s, {})) for s in SCHEMES] + [
    ("int8", {"calibration": "percentile", "percentile": 90.0}),
    ("int8", {"calibration": "mse"}),
    ("int8-offset", {"calibration": "percentile"}),
    ("int8-offset", {"calibration": "mse"}),
    ("int8-dimension", {"calibration": "percentile", "percentile": 80.0}),
    ("int8-dimension", {"calibration": "mse"}),
    ("int4", {"calibration": "min-max"}),
    ("int4", {"group": 1}),
    ("binary", {"centre": False}),
    ("pca", {"dimensions": 1}),
    ("pca-int8", {"dimensions": 1}),
]
NAMES = [f"{s} {o}" if o else s for s, o in VARIANTS]


def distances(v, q):
    """Distances to the decoded vectors, in float64."""
    return np.sqrt(((np.asarray(v, dtype=np.float32).astype(np.float64) - q.dequantize()) ** 2).sum(axis=1))


# ---------------------------------------------------------------- the bound

any_float = st.floats(-(2.0**120), 2.0**120, width=32)
any_vectors = hnp.arrays(
    np.float32,
    st.tuples(st.integers(2, 12), st.integers(1, 19)),
    elements=st.one_of(
        any_float, st.floats(-2, 2, width=32), st.sampled_from([0.0, 1.0, 1e-30, -1e30, 70000.0])
    ),
)
EXTREME = np.array(
    [[3.4028235e38, -3.4028235e38, 0], [1e-45, -1e-40, 1e-38], [1e30, 1e-30, 1], [0, 0, 0], [-1, -1, -1]],
    np.float32,
)


@pytest.mark.parametrize(("scheme", "options"), VARIANTS, ids=NAMES)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(v=any_vectors)
@example(v=EXTREME)
@example(v=np.full((4, 5), 3.4028235e38, np.float32))
@example(v=np.full((4, 5), 1e-45, np.float32))
@example(v=np.zeros((2, 1), np.float32))
def test_bound_holds_for_every_vector(scheme, options, v):
    q = quantization.quantize(v, scheme, **options)
    decoded = q.dequantize()
    assert decoded.dtype == np.float32 and decoded.shape == v.shape and np.isfinite(decoded).all()
    assert q.errors.dtype == np.float32 and q.errors.shape == (len(v),) and not np.isnan(q.errors).any()
    assert (distances(v, q) <= q.errors.astype(np.float64)).all()
    assert len(q) == len(v) and q.dimension == v.shape[1]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_bound_is_tight(scheme):
    q = quantization.quantize(CLOUD, scheme)
    slack = 3e-5 * np.linalg.norm(CLOUD, axis=1) if scheme.startswith("pca") else 1e-6 * distances(CLOUD, q)
    assert (q.errors <= distances(CLOUD, q) + slack).all()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["raw", "centred", "zca", "pca"])
def test_bound_holds_on_every_geometry_and_for_other_vectors(scheme, name):
    v = geometry.fit_geometry(name, CLOUD).apply(CLOUD)
    quantizer = quantization.calibrate(v[:256], scheme)
    q = quantizer.quantize(3 * v)
    assert (distances(3 * v, q) <= q.errors).all()


@pytest.mark.parametrize("scheme", ["pca", "pca-int8"])
def test_principal_bound_holds_however_the_product_is_summed(scheme):
    v = np.random.default_rng(1).standard_normal((40, 300)).astype(np.float32) + 3
    q = quantization.quantize(v, scheme, dimensions=37)
    z = q.codes.astype(np.float32) * (q.scale[:, None] if len(q.scale) else 1)
    for order in (np.arange(37), np.arange(37)[::-1], np.argsort(np.abs(z).sum(axis=0))):
        total = np.zeros_like(v)
        for j in order:
            total += z[:, j, None] * q.codebook[j]
        decoded = total + q.offset
        assert (np.linalg.norm(v.astype(np.float64) - decoded, axis=1) <= q.errors).all()


@pytest.mark.parametrize(("scheme", "options"), VARIANTS, ids=NAMES)
def test_scores_move_by_no_more_than_promised(scheme, options):
    q = quantization.quantize(CLOUD, scheme, **options)
    queries = np.random.default_rng(1).standard_normal((50, 21)) * np.random.default_rng(1).lognormal(
        0, 3, (50, 1)
    )
    exact, decoded = queries @ CLOUD.astype(np.float64).T, queries @ q.dequantize().astype(np.float64).T
    assert (np.abs(exact - decoded) <= q.dot_errors(queries) + 1e-12 * np.abs(exact)).all()
    assert q.dot_errors(queries).shape == (50, 300)
    cosines = [similarity.cosine(queries, x.astype(np.float64)) for x in (CLOUD, q.dequantize())]
    assert (np.abs(cosines[0] - cosines[1]) <= q.cosine_errors() + 1e-12).all()


def test_bounds_of_scores_by_hand():
    q = quantization.quantize(np.array([[3.0, 4.0]]), "binary", centre=False)
    # v̂ = 3.5 (1, 1) lies 1/√2 away, and is 3.5 √2 long.
    assert q.errors[0] == pytest.approx(0.5**0.5, rel=1e-6)
    assert q.dot_errors(np.array([[6.0, 8.0]]))[0, 0] == pytest.approx(10 * 0.5**0.5, rel=1e-6)
    assert q.cosine_errors()[0] == pytest.approx(2 * np.sin(np.arcsin(1 / 7) / 2), rel=1e-6)


def test_cosine_bound_without_direction():
    assert quantization.quantize(np.zeros((2, 3)), "int8").cosine_errors().tolist() == [0, 0]
    vanished = quantization.quantize(np.full((1, 3), 1e-30), "float16")
    assert vanished.dequantize().tolist() == [[0, 0, 0]] and vanished.cosine_errors().tolist() == [2]


def test_a_bound_is_rounded_up():
    for distance in (0.1, 1 / 3, 1e-50, 7.0):
        assert float(bounds.rounded_up(np.array([distance]), 3)[0]) >= distance * (1 + 11 * 2.0**-52)
    assert bounds.rounded_up(np.array([0.0, 1e300]), 3).tolist() == [0, np.inf]


# ---------------------------------------------------------------- codes, one by one


def test_float16_is_numpys_and_saturates():
    v = np.array([[1.0001, -3e-6, 65519.0, 65520.0, -1e30]], np.float32)
    q = quantization.quantize(v, "float16")
    assert np.array_equal(q.codes[0, :3], v[0, :3].astype(np.float16))
    assert q.codes[0, 3:].tolist() == [65504, -65504]
    assert q.bytes_per_vector == 10


@settings(derandomize=True)
@given(bits=hnp.arrays(np.uint32, 64, elements=st.integers(0, 2**32 - 1)))
def test_bfloat16_is_torchs(bits):
    v = bits.view(np.float32)
    v = v[np.isfinite(v)]
    ours = floats.to_bfloat16(v).astype(np.uint32) << 16
    theirs = torch.from_numpy(v.copy()).to(torch.bfloat16).float().numpy()
    theirs = np.clip(theirs, -3.3895314e38, 3.3895314e38)
    assert np.array_equal(ours.view(np.float32), theirs)


def test_int8_by_hand():
    q = quantization.quantize(np.array([[1.0, -0.5, 0.25], [0, 0, 0]]), "int8")
    assert q.codes.tolist() == [[127, -64, 32], [0, 0, 0]] and q.codes.dtype == np.int8
    assert q.scale[0] == pytest.approx(1 / 127, rel=2**-16) and q.scale[1] == 0
    assert q.bytes_per_vector == 3 + 4


def test_int8_offset_uses_all_codes():
    q = quantization.quantize(np.array([[10.0, 11.0, 12.0]]), "int8-offset")
    assert q.codes.tolist() == [[-128, 0, 127]] or q.codes.tolist() == [[-128, -1, 127]]
    assert np.allclose(q.dequantize(), [10, 11, 12], atol=2 / 255)


@pytest.mark.parametrize("scheme", ["int8", "int8-offset", "int8-dimension", "int4"])
def test_error_is_at_most_half_a_step(scheme):
    q = quantization.quantize(CLOUD, scheme, calibration="min-max")
    step = q.scale if scheme == "int8-dimension" else q.scale.reshape(300, 1)
    assert (np.abs(CLOUD - q.dequantize()) <= step * 0.5 * (1 + 1e-3) + 1e-6).all()


def test_products_of_scale_and_code_are_exact():
    q = quantization.quantize(
        np.random.default_rng(1).standard_normal((200, 16))
        * 10.0 ** np.random.default_rng(1).integers(-20, 20, (200, 1)),
        "int8",
    )
    assert np.array_equal(q.dequantize().astype(np.float64), q.codes * q.scale.astype(np.float64)[:, None])


@pytest.mark.parametrize(
    ("scheme", "options"),
    [(s, {}) for s in ("float32", "float16", "bfloat16", "int8")] + [("int4", {"calibration": "min-max"})],
)
@settings(max_examples=50, deadline=None, derandomize=True)
@given(v=any_vectors)
def test_codes_of_decoded_vectors_are_the_same_codes(scheme, options, v):
    once = quantization.quantize(v, scheme, **options)
    again = quantization.quantize(once.dequantize(), scheme, **options)
    assert np.array_equal(once.codes, again.codes)
    assert np.array_equal(once.dequantize(), again.dequantize())
    assert (again.errors == 0).all()


def test_codes_of_decoded_vectors_under_learned_ranges():
    quantizer = quantization.calibrate(CLOUD, "int8-dimension")
    once = quantizer.quantize(CLOUD)
    assert np.array_equal(quantizer.quantize(once.dequantize()).codes, once.codes)


@pytest.mark.parametrize("scheme", ["int8-dimension", "int8-offset", "int8"])
def test_beyond_the_range_saturates_and_never_wraps(scheme):
    options = {} if scheme == "int8-dimension" else {"calibration": "percentile", "percentile": 60.0}
    quantizer = quantization.calibrate(CLOUD, scheme, **options)
    outlier = CLOUD[:1].copy()
    outlier[0, 3], outlier[0, 7] = 1e6, -1e6
    q = quantizer.quantize(outlier)
    assert q.codes[0, 3] == 127 and q.codes[0, 7] == (-127 if scheme == "int8" else -128)
    assert q.dequantize()[0, 3] > q.dequantize()[0, 7]
    assert (distances(outlier, q) <= q.errors).all()


@pytest.mark.parametrize("size", [200.0, 1e10, 3e38])
def test_learned_range_far_exceeded(size):
    quantizer = quantization.calibrate(np.array([[-1.0, 0.0], [1.0, 2.0]]), "int8-dimension")
    q = quantizer.quantize(np.array([[size, -size]]))
    assert q.codes.tolist() == [[127, -128]]
    assert np.allclose(q.dequantize(), [[1, 0]], atol=0.01)


def test_constant_dimension_is_exact():
    v = CLOUD.copy()
    v[:, 4] = 0.1
    q = quantization.quantize(v, "int8-dimension")
    assert q.scale[4] == 0 and (q.dequantize()[:, 4] == np.float32(0.1)).all()


def test_calibrations_keep_what_they_promise():
    v = np.concatenate([np.random.default_rng(1).standard_normal(4000), [100.0]])[:, None].astype(np.float32)
    error = {}
    for calibration in integers.CALIBRATIONS:
        quantizer = quantization.calibrate(v, "int8-dimension", calibration=calibration)
        error[calibration] = np.square(v - quantizer.quantize(v).dequantize())
    # mse is the best in mean square; percentile gives up the outlier and is best for the rest.
    assert error["mse"].mean() <= min(e.mean() for e in error.values())
    assert error["percentile"][:-1].mean() < error["min-max"][:-1].mean() / 30
    assert error["percentile"][-1, 0] > error["min-max"][-1, 0]


@pytest.mark.parametrize("scheme", ["int8", "int8-offset", "int4"])
def test_mse_is_never_worse_than_min_max(scheme):
    v = np.random.default_rng(1).standard_normal((200, 64))
    mse, full = (quantization.quantize(v, scheme, calibration=c) for c in ("mse", "min-max"))
    assert (distances(v, mse) <= distances(v, full) * (1 + 1e-6)).all()
    # 64 components reach so little beyond their bulk that 8 bits afford all of them; 4 do not.
    assert scheme != "int4" or distances(v, mse).sum() < 0.97 * distances(v, full).sum()


@settings(derandomize=True)
@given(
    codes=hnp.arrays(np.int8, st.tuples(st.integers(0, 5), st.integers(1, 9)), elements=st.integers(-8, 7))
)
def test_int4_packs_and_unpacks(codes):
    packed = integers.pack(codes)
    assert packed.shape == (len(codes), -(-codes.shape[1] // 2)) and packed.dtype == np.uint8
    assert np.array_equal(integers.unpack(packed, codes.shape[1]), codes)


def test_int4_packing_by_hand():
    assert integers.pack(np.array([[-8, 7, 1]], np.int8)).tolist() == [[0xF0, 0x89]]


def test_int4_groups_follow_local_sizes():
    v = np.ones((1, 10), np.float32)
    v[0, 6:] = 1000
    grouped, whole = quantization.quantize(v, "int4", group=6), quantization.quantize(v, "int4")
    assert np.allclose(grouped.dequantize(), v, rtol=1e-4) and grouped.scale.shape == (1, 2)
    assert whole.dequantize()[0, 0] == 0
    assert grouped.bytes_per_vector == 5 + 8 and whole.bytes_per_vector == 5 + 4


def test_binary_by_hand():
    q = quantization.quantize(np.array([[1.0, 5.0, 0.0], [3.0, 1.0, 0.0]]), "binary")
    assert q.offset.tolist() == [2, 3, 0]
    assert q.codes.tolist() == [[0b01000000], [0b10000000]]
    assert q.scale == pytest.approx([1, 1])
    assert q.dequantize().tolist() == [[1, 4, -1], [3, 2, -1]]
    assert q.bytes_per_vector == 1 + 4 + 12 / 2


def test_binary_scale_is_the_best():
    v = np.random.default_rng(1).standard_normal((20, 13))
    q = quantization.quantize(v, "binary", centre=False)
    signs = np.where(v > 0, 1, -1)
    best = (v * signs).sum(axis=1) / 13
    assert q.scale == pytest.approx(best, rel=1e-6)


def test_pca_keeps_what_lies_in_its_plane():
    plane = (
        np.random.default_rng(1).standard_normal((100, 2)) @ np.random.default_rng(1).standard_normal((2, 9))
        + 5
    )
    q = quantization.quantize(plane, "pca", dimensions=2)
    assert (distances(plane, q) < 1e-4).all()
    gram = q.codebook @ q.codebook.T
    assert np.allclose(gram, np.eye(2), atol=1e-6)
    assert np.var(q.codes[:, 0]) > np.var(q.codes[:, 1])


def test_pca_is_scikit_learns():
    from sklearn.decomposition import PCA

    reference = PCA(5, svd_solver="full").fit(CLOUD.astype(np.float64))
    expected = reference.inverse_transform(reference.transform(CLOUD.astype(np.float64)))
    assert np.allclose(quantization.quantize(CLOUD, "pca", dimensions=5).dequantize(), expected, atol=1e-5)


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
