"""The accountant against known values, deletion against a new fit."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import EASE
from recsys_lib.trust.privacy import accountant, deletion
from recsys_lib.trust.privacy.private_ease import PrivateEASE, clipped

# (sigma, delta, ε of one release, RDP bound of ten) as dp-accounting 0.6.0 of Google gives them, from
# pld.from_gaussian_mechanism and rdp.RdpAccountant; its orders and discretization are not ours.
KNOWN = [
    (1.0, 1e-5, 4.377178096, 19.047291603),
    (0.5, 1e-5, 9.997256146, 48.754523783),
    (4.0, 1e-6, 1.060701862, 4.010376255),
    (0.1, 1e-5, 91.817289623, 648.784208223),
]
# (ε, δ, σ) of the same package, get_sigma_gaussian.
SIGMAS = [(1.0, 1e-5, 3.7306316348159374), (0.5, 1e-6, 8.057618480725024), (8.0, 1e-5, 0.6002290721989517)]


@pytest.mark.parametrize(("sigma", "delta", "epsilon", "ten"), KNOWN)
def test_epsilon_agrees_with_dp_accounting(sigma, delta, epsilon, ten):
    assert accountant.gaussian_epsilon(delta, sigma) == pytest.approx(epsilon, rel=1e-7)
    assert accountant.renyi_epsilon(delta, sigma, releases=10) == pytest.approx(ten, rel=1e-3)
    exact = accountant.composed_epsilon(delta, [sigma] * 10, [1.0] * 10)
    assert epsilon < exact < ten


@pytest.mark.parametrize(("epsilon", "delta", "sigma"), SIGMAS)
def test_sigma_agrees_with_dp_accounting_and_turns_back(epsilon, delta, sigma):
    assert accountant.gaussian_sigma(epsilon, delta) == pytest.approx(sigma, rel=1e-9)
    assert accountant.gaussian_sigma(epsilon, delta, 3.0) == pytest.approx(3 * sigma, rel=1e-9)
    assert accountant.gaussian_epsilon(delta, sigma) == pytest.approx(epsilon, rel=1e-9)


def test_delta_equals_its_definition_by_integration():
    sigma, epsilon = 1.3, 0.7
    x = np.linspace(-20, 21, 400_001)
    density = [np.exp(-0.5 * ((x - m) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi)) for m in (0.0, 1.0)]
    excess = np.trapezoid(np.maximum(density[1] - np.exp(epsilon) * density[0], 0), x)
    assert accountant.gaussian_delta(epsilon, sigma) == pytest.approx(excess, rel=1e-6)


def test_much_noise_needs_no_epsilon_and_bad_values_are_refused():
    assert accountant.gaussian_epsilon(0.5, 10.0) == 0.0
    for call in (
        lambda: accountant.gaussian_delta(1.0, 0.0),
        lambda: accountant.gaussian_epsilon(0.0, 1.0),
        lambda: accountant.gaussian_sigma(-1.0, 1e-5),
        lambda: accountant.composed_epsilon(1e-5, [], []),
        lambda: accountant.flip_probability(np.nan, 8),
    ):
        with pytest.raises(InputError, match="expected"):
            call()


# (rate, noise, steps, divergences of orders 2, 8 and 32, ε of integer orders, ε of all its orders) as Opacus
# 1.6.0 gives them, from accountants.analysis.rdp and RDPAccountant, δ = 1e-5.
SAMPLED = [
    (0.1, 1.0, 100, (0.017036863236176647, 1.3783614113481268, 13.623137968522594), 7.972921510, 7.899255002),
    (
        0.05,
        2.0,
        400,
        (0.0007098115658748468, 0.003121526642300872, 0.9163696095615746),
        2.462719825,
        2.460996504,
    ),
    (0.3, 1.5, 60, (0.04913878414167489, 0.5468835500138415, 5.868302975658924), 9.797563616, 9.785138019),
    (0.01, 0.8, 1000, (0.00037700224391934634, 0.9891527690684303, 20.246275937), 3.725240221, 3.695428833),
]


@pytest.mark.parametrize(("rate", "noise", "steps", "divergences", "integer", "all_orders"), SAMPLED)
def test_dp_sgd_agrees_with_opacus(rate, noise, steps, divergences, integer, all_orders):
    found = [accountant.sampled_divergence(order, noise, rate) for order in (2, 8, 32)]
    assert found == pytest.approx(divergences, rel=1e-9)
    epsilon = accountant.sampled_epsilon(1e-5, noise, rate, steps)
    assert epsilon == pytest.approx(integer, rel=1e-8)
    assert all_orders <= epsilon < 1.02 * all_orders
    back = accountant.sampled_noise(epsilon, 1e-5, rate, steps)
    assert back == pytest.approx(noise, rel=1e-4)
    assert accountant.sampled_epsilon(1e-5, back, rate, steps) <= epsilon


def test_dp_sgd_over_everybody_is_the_gaussian_mechanism():
    exact = accountant.composed_epsilon(1e-5, [3.0] * 20, [1.0] * 20)
    assert accountant.sampled_epsilon(1e-5, 3.0, 1.0, 20) == pytest.approx(exact, rel=1e-9)
    assert accountant.sampled_epsilon(1e-5, 3.0, 0.2, 20) < exact
    with pytest.raises(InputError, match="expected at least 2"):
        accountant.sampled_divergence(1, 1.0, 0.5)


RNG = np.random.default_rng(2)
TRAIN = sp.csr_matrix((RNG.random((80, 30)) < 0.2).astype(np.float32))


@pytest.mark.parametrize("gone", [[0], [3, 4, 50], []])
def test_a_downdate_equals_a_new_fit_and_proves_it(gone):
    inverse = deletion.inverse_gram(TRAIN, 20.0)
    rest = TRAIN[np.setdiff1d(np.arange(80), gone)]
    updated = deletion.without_users(inverse, TRAIN[gone])
    fresh = deletion.weights_of(deletion.inverse_gram(rest, 20.0))
    assert np.abs(deletion.weights_of(updated) - fresh).max() < 1e-5
    assert np.abs(deletion.weights_of(updated) - EASE(20.0).fit(rest).weights).max() < 1e-5
    assert deletion.residual(updated, rest, 20.0) < 1e-9
    if gone:
        assert deletion.residual(inverse, rest, 20.0) > 1e-3


def test_operations_of_a_deletion_grow_with_the_square_of_the_items_and_of_a_fit_with_the_cube():
    (small, fit), (large, new) = (deletion.operations(n, 1, 50) for n in (1000, 2000))
    assert new == 8 * fit and 3.9 < large / small < 4.0 and small < fit / 500
    assert deletion.operations(1000, 10, 500)[0] > 9 * small


def test_deletion_refuses_users_that_were_not_there():
    inverse = deletion.inverse_gram(TRAIN, 0.5)
    stranger = sp.csr_matrix(np.ones((1, 30), np.float32) * 9)
    with pytest.raises(InputError, match="were not"):
        deletion.without_users(inverse, stranger)
    with pytest.raises(InputError, match="expected 30"):
        deletion.without_users(inverse, sp.csr_matrix((1, 7)))


def test_clipping_bounds_what_a_user_can_change():
    kept = clipped(TRAIN, 3)
    assert np.diff(kept.indptr).max() == 3 and (kept.multiply(TRAIN) != kept).nnz == 0
    one = TRAIN[:1]
    change = np.triu((clipped(one, 3).T @ clipped(one, 3)).toarray())
    assert np.linalg.norm(change) <= np.sqrt(3 * 4 / 2) + 1e-6


def test_private_ease_comes_near_to_ease_without_a_budget_and_is_reproducible(tmp_path):
    loose = PrivateEASE(1e6, most=30, regularization=20.0).fit(TRAIN)
    assert np.abs(loose.weights - EASE(20.0).fit(TRAIN).weights).max() < 0.02
    tight = PrivateEASE(1.0).fit(TRAIN)
    assert (tight.weights == PrivateEASE(1.0).fit(TRAIN).weights).all()
    tight.save(tmp_path / "model")
    assert np.allclose(PrivateEASE.load(tmp_path / "model").score(TRAIN), tight.score(TRAIN))
    with pytest.raises(InputError, match="most=0"):
        PrivateEASE(1.0, most=0)
