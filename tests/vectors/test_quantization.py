"""Every code keeps its promise: the bound holds for each vector, ranges saturate, peers agree,
bad input is refused.
"""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from quantization_cases import CLOUD, NAMES, VARIANTS, distances

from recsys_lib.vectors import geometry, quantization, similarity
from recsys_lib.vectors.quantization import SCHEMES, bounds, floats, integers

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
