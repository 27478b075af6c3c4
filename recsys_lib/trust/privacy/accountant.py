"""What Gaussian noise guarantees: exact (ε, δ) of the Gaussian mechanism, its composition, the bound by
Rényi divergence, and that of DP-SGD, whose every sum is over random people.

A mechanism is (ε, δ)-differentially private if ``P[M(D) ∈ S] <= e^ε P[M(D') ∈ S] + δ`` for all neighbouring
data D, D' and all S. ``sensitivity`` is the largest Euclidean distance that one neighbour can move what is
released; which data are neighbours is the caller's to say.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys_lib.core.errors import InputError

# Orders of the Rényi divergence that are tried; between them the bound changes little.
ORDERS = np.concatenate(
    [1 + np.linspace(0.01, 1, 100), np.linspace(2.1, 64, 620), np.geomspace(65, 1e5, 400)]
)
# Integer orders for sums over random people.
SAMPLED_ORDERS = (*range(2, 65), *range(68, 257, 4))


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < np.inf:
            raise InputError(f"{name}={value!r}: expected a positive, finite number")


def _fraction(delta: float) -> None:
    if not 0 < delta < 1:
        raise InputError(f"delta={delta!r}: expected a number between 0 and 1")


def gaussian_delta(epsilon: float, sigma: float, sensitivity: float = 1.0) -> float:
    """The smallest δ for which noise of standard deviation ``sigma`` is (``epsilon``, δ)-private.

    ``Φ(Δ/2σ - εσ/Δ) - e^ε Φ(-Δ/2σ - εσ/Δ)`` (Balle and Wang, "Improving the Gaussian Mechanism for
    Differential Privacy", ICML 2018, theorem 8): necessary and sufficient.

    Raises:
        InputError: a sigma or sensitivity that is not positive, a negative epsilon.
    """
    from scipy.special import log_ndtr, ndtr

    _positive(sigma=sigma, sensitivity=sensitivity)
    if not 0 <= epsilon < np.inf:
        raise InputError(f"epsilon={epsilon!r}: expected at least 0 and finite")
    mu = sensitivity / sigma
    return float(max(ndtr(mu / 2 - epsilon / mu) - np.exp(epsilon + log_ndtr(-mu / 2 - epsilon / mu)), 0.0))


def gaussian_epsilon(delta: float, sigma: float, sensitivity: float = 1.0) -> float:
    """The smallest ε for which noise of standard deviation ``sigma`` is (ε, ``delta``)-private.

    Raises:
        InputError: as ``gaussian_delta``, a delta outside of (0, 1).
    """
    from scipy.optimize import brentq

    _fraction(delta)
    if gaussian_delta(0.0, sigma, sensitivity) <= delta:
        return 0.0
    high = 1.0
    while gaussian_delta(high, sigma, sensitivity) > delta:
        high *= 2
    return float(
        brentq(lambda e: gaussian_delta(e, sigma, sensitivity) - delta, 0.0, high, xtol=1e-12, rtol=1e-12)
    )


def gaussian_sigma(epsilon: float, delta: float, sensitivity: float = 1.0) -> float:
    """The smallest standard deviation of noise that is (``epsilon``, ``delta``)-private.

    Raises:
        InputError: as ``gaussian_epsilon``.
    """
    from scipy.optimize import brentq

    _positive(epsilon=epsilon, sensitivity=sensitivity)
    _fraction(delta)
    low, high = 1e-6, 1.0
    while gaussian_delta(epsilon, high) > delta:
        high *= 2
    found = brentq(lambda s: gaussian_delta(epsilon, s) - delta, low, high, xtol=1e-14, rtol=1e-12)
    return float(found) * sensitivity


def composed_epsilon(delta: float, sigmas: Sequence[float], sensitivities: Sequence[float]) -> float:
    """ε of several Gaussian releases about the same person together, exact.

    They are as one release of ``μ = √Σ (Δ_i/σ_i)²`` (Dong, Roth and Su, "Gaussian Differential Privacy",
    JRSS-B 2022).

    Raises:
        InputError: no release, as many sensitivities as sigmas expected.
    """
    if not len(sigmas) or len(sigmas) != len(sensitivities):
        raise InputError(
            f"{len(sigmas)} sigmas, {len(sensitivities)} sensitivities: expected as many, at least 1"
        )
    for sigma, sensitivity in zip(sigmas, sensitivities, strict=True):
        _positive(sigma=sigma, sensitivity=sensitivity)
    mu = float(np.sqrt(np.sum((np.asarray(sensitivities, float) / np.asarray(sigmas, float)) ** 2)))
    return gaussian_epsilon(delta, 1 / mu)


def renyi_epsilon(delta: float, sigma: float, sensitivity: float = 1.0, releases: int = 1) -> float:
    """An upper bound on ε of ``releases`` equal Gaussian releases from their Rényi divergence ``αΔ²/2σ²`` of
    order α.

    Converted by ``ε = ρ(α) + log((α-1)/α) - (log δ + log α)/(α-1)`` at the best α (Mironov, "Rényi
    Differential Privacy", CSF 2017; conversion of Canonne, Kamath and Steinke, NeurIPS 2020). Never below the
    exact value.

    Raises:
        InputError: as ``gaussian_epsilon``; fewer than 1 release.
    """
    _positive(sigma=sigma, sensitivity=sensitivity)
    _fraction(delta)
    if releases < 1:
        raise InputError(f"releases={releases!r}: expected at least 1")
    divergence = releases * ORDERS * sensitivity**2 / (2 * sigma**2)
    bounds = divergence + np.log1p(-1 / ORDERS) - (np.log(delta) + np.log(ORDERS)) / (ORDERS - 1)
    return float(max(bounds.min(), 0.0))


def sampled_divergence(order: int, noise: float, rate: float) -> float:
    """Rényi divergence of integer ``order`` of one sum over people who take part with probability ``rate``
    each, with noise of ``noise`` times the sensitivity.

    ``log(Σ_k C(α,k) (1-q)^(α-k) q^k e^((k² - k)/2σ²)) / (α - 1)`` (Mironov, Talwar and Zhang, "Rényi
    Differential Privacy of the Sampled Gaussian Mechanism", 2019); ``α/2σ²`` where everybody takes part.

    Raises:
        InputError: an order below 2, a noise that is not positive, a rate outside of (0, 1].
    """
    from scipy.special import gammaln, logsumexp

    _positive(noise=noise)
    if order < 2 or not 0 < rate <= 1:
        raise InputError(f"order={order!r}, rate={rate!r}: expected at least 2, and above 0 to 1")
    if rate == 1:
        return float(order / (2 * noise**2))
    k = np.arange(order + 1, dtype=float)
    ways = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    terms = ways + (order - k) * np.log1p(-rate) + k * np.log(rate) + (k * k - k) / (2 * noise**2)
    return float(max(logsumexp(terms), 0.0) / (order - 1))


def sampled_epsilon(delta: float, noise: float, rate: float, steps: int) -> float:
    """An upper bound on ε of ``steps`` noisy sums over random people: DP-SGD (Abadi et al., CCS 2016).

    noise: standard deviation in units of what one person can add. Neighbours differ in one person. Exact
    where ``rate`` is 1; else by integer orders of ``sampled_divergence``, and so a little above bounds that
    try orders between them.

    Raises:
        InputError: as ``sampled_divergence``; fewer than 1 step, a delta outside of (0, 1).
    """
    _fraction(delta)
    if steps < 1:
        raise InputError(f"steps={steps!r}: expected at least 1")
    if rate == 1:
        return gaussian_epsilon(delta, noise / np.sqrt(steps))
    orders = np.array(SAMPLED_ORDERS, dtype=float)
    divergence = steps * np.array([sampled_divergence(a, noise, rate) for a in SAMPLED_ORDERS])
    bounds = divergence + np.log1p(-1 / orders) - (np.log(delta) + np.log(orders)) / (orders - 1)
    return float(max(bounds.min(), 0.0))


def sampled_noise(epsilon: float, delta: float, rate: float, steps: int) -> float:
    """The smallest noise, to one part in a million, for which ``sampled_epsilon`` is at most ``epsilon``.

    Raises:
        InputError: as ``sampled_epsilon``, an epsilon that is not positive.
    """
    from scipy.optimize import brentq

    _positive(epsilon=epsilon)
    low, high = 1e-3, 1.0
    while sampled_epsilon(delta, high, rate, steps) > epsilon:
        high *= 2
    if sampled_epsilon(delta, low, rate, steps) <= epsilon:
        return low
    found = brentq(lambda s: sampled_epsilon(delta, s, rate, steps) - epsilon, low, high, rtol=1e-7)
    return float(found) * (1 + 1e-6)


def flip_probability(epsilon: float, bits: int) -> float:
    """How often each of ``bits`` bits is flipped so that all of them together are ``epsilon``-private, δ = 0.

    Randomized response: a bit is kept with odds ``e^(ε/bits)`` (Warner, JASA 1965).

    >>> round(flip_probability(384.0, 384), 3)
    0.269
    """
    _positive(epsilon=epsilon, bits=bits)
    return float(1 / (1 + np.exp(epsilon / bits)))
