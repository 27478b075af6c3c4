"""Clouds of known shape have it measured; maps do what their names say and survive degenerate input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recsys_lib.core import memory, storage
from recsys_lib.core.errors import InputError
from recsys_lib.vectors import geometry, similarity

rng = np.random.default_rng(1)
CLOUD = (rng.standard_normal((500, 16)) * np.linspace(3, 0.3, 16) + 2).astype(np.float32)


def test_random_pairs_are_of_different_rows():
    v = np.eye(3, dtype=np.float32)
    assert (geometry.random_pair_cosines(v, 1000) == 0).all()
    with pytest.raises(InputError, match="at least 2"):
        geometry.random_pair_cosines(v[:1])


def test_random_pairs_estimate_the_mean_of_all_pairs():
    all_pairs = similarity.cosine(CLOUD, CLOUD)[np.triu_indices(500, 1)]
    sample = geometry.random_pair_cosines(CLOUD, 50_000)
    assert sample.mean() == pytest.approx(all_pairs.mean(), abs=0.005)
    assert np.array_equal(sample, geometry.random_pair_cosines(CLOUD, 50_000))


def test_effective_rank_of_known_clouds():
    sphere = np.vstack([np.eye(8), -np.eye(8)])
    assert geometry.effective_rank(sphere) == pytest.approx(8)
    assert geometry.effective_rank(np.outer(np.arange(5), np.ones(8))) == pytest.approx(1)
    assert geometry.effective_rank(np.ones((5, 8))) == 0


def test_participation_and_isotropy_of_known_clouds():
    sphere = np.vstack([np.eye(8), -np.eye(8)])
    assert geometry.participation_ratio(sphere) == pytest.approx(8)
    assert geometry.participation_ratio(np.outer(np.arange(5), np.ones(8))) == pytest.approx(1)
    assert geometry.participation_ratio(np.ones((5, 8))) == 0
    assert geometry.isotropy(sphere) == pytest.approx(1)
    # All on one line and one way: exp(-1) against exp(1).
    assert geometry.isotropy(np.ones((5, 8))) == pytest.approx(np.exp(-2))
    assert geometry.isotropy(geometry.centre(CLOUD).apply(CLOUD)) > geometry.isotropy(CLOUD)


def test_pca_of_a_point_has_the_dimensions_asked_for():
    assert geometry.whiten(np.ones((3, 8)), "pca", dimensions=2).apply(CLOUD[:, :8]).shape == (500, 2)


def test_hubness_sees_a_hub():
    even = similarity.normalize(rng.standard_normal((300, 3)).astype(np.float32))
    hubby = np.vstack([rng.standard_normal((300, 200)), np.zeros((1, 200))]).astype(np.float32) + 0.3
    assert geometry.hubness(even) < 1 < geometry.hubness(hubby)
    with pytest.raises(InputError, match="hubness"):
        geometry.hubness(even[:5])


def test_centring_and_top_removal():
    assert np.allclose(geometry.centre(CLOUD).apply(CLOUD).mean(0), 0, atol=1e-5)
    removed = geometry.remove_top_components(CLOUD, 2).apply(CLOUD)
    before = np.linalg.svd(CLOUD - CLOUD.mean(0), compute_uv=False)
    after = np.linalg.svd(removed, compute_uv=False)
    assert np.allclose(after[:14], before[2:], rtol=1e-3)
    assert np.allclose(
        geometry.remove_top_components(CLOUD, 0).apply(CLOUD), CLOUD - CLOUD.mean(0), atol=1e-5
    )


@pytest.mark.parametrize("kind", ["zca", "pca"])
def test_whitening_without_shrinkage_makes_a_sphere(kind):
    white = geometry.whiten(CLOUD, kind, shrinkage=0).apply(CLOUD)
    assert np.allclose(np.cov(white.T, bias=True), np.eye(16), atol=1e-3)


def test_full_shrinkage_only_centres_up_to_scale():
    white = geometry.whiten(CLOUD, shrinkage=1).apply(CLOUD)
    centred = geometry.centre(CLOUD).apply(CLOUD)
    assert np.allclose(similarity.cosine(white, white), similarity.cosine(centred, centred), atol=1e-5)


def test_zca_and_pca_differ_by_a_rotation_only():
    a, b = (geometry.whiten(CLOUD, kind, dimensions=5).apply(CLOUD) for kind in ("zca", "pca"))
    assert a.shape == (500, 16) and b.shape == (500, 5)
    assert np.allclose(a @ a.T, b @ b.T, atol=1e-3)


def test_a_map_is_fitted_on_one_part_and_applied_to_another():
    fitted = geometry.fit_geometry("zca", CLOUD[:400])
    alone = fitted.apply(CLOUD[400:])
    assert np.allclose(fitted.apply(CLOUD)[400:], alone, atol=1e-5)
    other = geometry.fit_geometry("zca", CLOUD).apply(CLOUD[400:])
    assert not np.allclose(alone, other, atol=1e-3)


@settings(deadline=None, derandomize=True)
@given(
    hnp.arrays(
        np.float32, st.tuples(st.integers(1, 5), st.integers(1, 4)), elements=st.floats(-100, 100, width=32)
    )
)
def test_no_map_makes_nan(v):
    for name in geometry.GEOMETRIES:
        options = {"n": 0} if name == "top-removed" else {"shrinkage": 0.0} if name in ("zca", "pca") else {}
        assert np.isfinite(geometry.fit_geometry(name, v, **options).apply(v)).all()


def test_raw_changes_nothing():
    assert np.array_equal(geometry.fit_geometry("raw", CLOUD).apply(CLOUD), CLOUD)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: geometry.fit_geometry("white", CLOUD), "expected one of raw, centred"),
    (lambda: geometry.whiten(CLOUD, dimensions=17), "dimensions=17"),
    (lambda: geometry.whiten(CLOUD, dimensions=2.5), "dimensions=2.5"),
    (lambda: geometry.remove_top_components(CLOUD, 2.5), "n=2.5"),
    (lambda: geometry.random_pair_cosines(CLOUD, 2.5), "n_pairs=2.5"),
    (lambda: geometry.whiten(CLOUD, shrinkage=2), "shrinkage=2"),
    (lambda: geometry.whiten(CLOUD, kind="lda"), "kind='lda'"),
    (lambda: geometry.remove_top_components(CLOUD, 16), "n=16"),
    (lambda: geometry.centre(CLOUD[:0]), "n and d of at least 1"),
    (lambda: geometry.centre(CLOUD).apply(CLOUD[:, :3]), r"was fitted on \[n, 16\]"),
    (lambda: geometry.centre(np.array([[np.nan]])), "finite"),
    (lambda: geometry.centre(CLOUD).apply(np.where(np.arange(16) < 3, CLOUD[:2], np.nan)), "v row 0 holds "
        "NaN"),
    (lambda: geometry.effective_rank(np.array([[np.nan, 1]])), "v of shape"),
    (lambda: geometry.isotropy(CLOUD[:0]), "n and d of at least 1"),
    (lambda: geometry.random_pair_cosines(CLOUD, 0), "n_pairs=0"),
    (lambda: geometry.Calibration(np.array([0.1])).percentile(np.nan), "NaN"),
])  # fmt: skip
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_calibration_is_the_empirical_distribution():
    c = geometry.Calibration(np.array([0.1, 0.2, 0.2, 0.4]))
    assert c.percentile(np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.9])).tolist() == [0, 12.5, 50, 75, 87.5, 100]
    assert c.z_score(c.sample.mean()) == pytest.approx(0)
    assert geometry.Calibration(np.array([0.3, 0.3])).z_score(0.5) == 0
    fitted = geometry.Calibration.fit(CLOUD)
    assert fitted.percentile(float(np.median(fitted.sample))) == pytest.approx(50, abs=0.1)


def test_shape_of_an_offset_cloud():
    s = geometry.shape(CLOUD + 10)
    assert s.mean_cosine > 0.9 > 0.1 > s.cosine_spread
    assert 0 < s.first_direction < 1 < s.effective_rank < 16


def test_signs_of_principal_directions_follow_a_rule(monkeypatch):
    """LAPACK's signs differ between processors: both signs of every eigenvector give the same map."""
    v = np.random.default_rng(0).standard_normal((60, 5)) * [5, 4, 3, 2, 1]
    expected = geometry.whiten(v, kind="pca").matrix
    eigh = np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda a: (eigh(a)[0], -eigh(a)[1]))
    assert np.array_equal(geometry.whiten(v, kind="pca").matrix, expected)
    assert (np.take_along_axis(expected, np.abs(expected).argmax(axis=0)[None], axis=0) > 0).all()


@pytest.mark.parametrize("name", ["top-removed", "zca", "pca"])
def test_equal_rows_stay_equal_under_every_map(name):
    few = np.random.default_rng(0).standard_normal((9, 48)).astype(np.float32)
    of = np.random.default_rng(1).integers(0, 9, 501)
    mapped = geometry.fit_geometry(name, few[of]).apply(few[of])
    assert len(np.unique(mapped, axis=0)) == 9


@pytest.mark.parametrize("name", geometry.GEOMETRIES)
def test_a_saved_map_comes_back_in_every_bit(name, tmp_path):
    made = geometry.fit_geometry(name, CLOUD)
    made.save(tmp_path)
    found = geometry.Geometry.load(tmp_path)
    assert found.name == made.name and (found.matrix is None) == (made.matrix is None)
    assert np.array_equal(found.apply(CLOUD), made.apply(CLOUD))


def test_a_saved_map_that_is_damaged_or_another_thing(tmp_path):
    geometry.centre(CLOUD).save(tmp_path)
    next(tmp_path.glob("*.safetensors")).write_bytes(b"x")
    with pytest.raises(InputError, match="damaged"):
        geometry.Geometry.load(tmp_path)
    storage.save(tmp_path, "index", {}, {})
    with pytest.raises(InputError, match="kind 'index', expected 'geometry'"):
        geometry.Geometry.load(tmp_path)


def test_what_does_not_fit_memory_is_refused_before_it_starts(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)
    with pytest.raises(InputError, match=r"a map fitted in float64 .* needs"):
        geometry.centre(CLOUD)
    monkeypatch.setattr(similarity, "BLOCK_SCORES", 1000)  # fewer are not worth a look at memory
    with pytest.raises(InputError, match=r"a matrix of 200 by 300 similarities needs .* top_k"):
        similarity.cosine(np.ones((200, 2)), np.ones((300, 2)))
