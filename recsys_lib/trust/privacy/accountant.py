"""What Gaussian noise guarantees: exact (ε, δ) of the Gaussian mechanism, its composition, and the bound by
Rényi divergence.

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


def flip_probability(epsilon: float, bits: int) -> float:
    """How often each of ``bits`` bits is flipped so that all of them together are ``epsilon``-private, δ = 0.

    Randomized response: a bit is kept with odds ``e^(ε/bits)`` (Warner, JASA 1965).

    >>> round(flip_probability(384.0, 384), 3)
    0.269
    """
    _positive(epsilon=epsilon, bits=bits)
    return float(1 / (1 + np.exp(epsilon / bits)))
