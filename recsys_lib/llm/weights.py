"""Weights of a model in fewer bits: rounded to nearest per group, or column by column with what was lost
handed on (GPTQ).

A weight matrix is ``[out, in]``. A group is ``group`` neighbouring inputs of one output; it has a step, and
if ``offset`` also a minimum:

    code = round((w - minimum) / step),  ŵ = minimum + step · code,  codes 0 … 2^bits - 1.

Without an offset codes are symmetric, ``-(2^(bits-1) - 1) … 2^(bits-1) - 1``. Steps and minima are kept in 16
bits, so a weight takes ``bits + 16 / group`` or ``bits + 32 / group`` bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from recsys_lib.core.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Frantar et al., "GPTQ" (2023): the share of the mean diagonal that is added to the Hessian, and columns
# updated at once.
DAMPING, COLUMNS = 0.01, 128


def bits_per_weight(bits: int, group: int, offset: bool = True) -> float:
    """Bits that a weight takes with its share of what its group keeps.

    >>> bits_per_weight(4, 32)
    5.0
    """
    return bits + (32 if offset else 16) / group


def check(bits: int, group: int, width: int) -> None:
    if not 2 <= bits <= 8:
        raise InputError(f"bits={bits!r}: expected 2 to 8")
    if group < 1 or width % group:
        raise InputError(f"group={group!r}: expected a divisor of the {width} inputs of the layer")


def _grid(groups: Tensor, bits: int, offset: bool) -> tuple[Tensor, Tensor, int, int]:
    """Step and minimum of each row of ``groups [..., group]``, and the lowest and the highest code."""
    if offset:
        minimum, maximum = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
        step = (maximum - minimum) / (2**bits - 1)
        low, high = 0, 2**bits - 1
    else:
        high = 2 ** (bits - 1) - 1
        low = -high
        step = groups.abs().amax(-1, keepdim=True) / high
        minimum = groups.new_zeros(step.shape)
    step = step.half().to(groups.dtype)  # as they are kept
    step = step.where(step > 0, step.new_ones(()))
    return step, minimum.half().to(groups.dtype), low, high


def round_to_nearest(weight: Tensor, bits: int, group: int, offset: bool = True) -> Tensor:
    """``weight [out, in]`` after rounding each number to the nearest code of its group, in the same type.

    >>> import torch
    >>> round_to_nearest(torch.tensor([[0.0, 1.0, 2.1, 3.0]]), bits=2, group=4).tolist()
    [[0.0, 1.0, 2.0, 3.0]]
    """
    check(bits, group, weight.shape[1])
    groups = weight.float().reshape(weight.shape[0], -1, group)
    step, minimum, low, high = _grid(groups, bits, offset)
    codes = ((groups - minimum) / step).round().clamp(low, high)
    return (minimum + step * codes).reshape(weight.shape).to(weight.dtype)


def gptq(weight: Tensor, hessian: Tensor, bits: int, group: int, offset: bool = True) -> Tensor:
    """``weight [out, in]`` rounded column by column; what a column lost is made up for by the columns not yet
    rounded.

    hessian: ``Xᵀ X [in, in]`` of the layer's inputs. Algorithm 1 of Frantar, Ashkboos, Hoefler and Alistarh,
    "GPTQ: accurate post-training quantization for generative pre-trained transformers" (2023), with the grid
    of a group fixed when its first column is reached.

    Raises:
        InputError: bits, group or hessian out of range; a hessian of which no Cholesky factor exists.
    """
    import torch

    check(bits, group, weight.shape[1])
    n = weight.shape[1]
    if hessian.shape != (n, n):
        raise InputError(
            f"hessian of shape {tuple(hessian.shape)}: expected ({n}, {n}), the inputs of the layer"
        )
    w = weight.detach().double().clone()
    w[:, hessian.diagonal() == 0] = 0
    inverse = _inverse_factor(hessian)
    out = torch.empty_like(w)
    for first in range(0, n, COLUMNS):
        last = min(first + COLUMNS, n)
        lost = torch.zeros(w.shape[0], last - first, dtype=w.dtype)
        for i in range(first, last):
            if i % group == 0:
                # Columns of this group beyond the block do not yet carry the block's losses.
                ahead = w[:, i : i + group].clone()
                if i + group > last:
                    ahead[:, last - i :] -= lost[:, : i - first] @ inverse[first:i, last : i + group]
                step, minimum, low, high = _grid(ahead, bits, offset)
            code = ((w[:, i : i + 1] - minimum) / step).round().clamp(low, high)
            out[:, i : i + 1] = minimum + step * code
            lost[:, i - first] = (w[:, i] - out[:, i]) / inverse[i, i]
            w[:, i:last] -= lost[:, i - first : i - first + 1] @ inverse[i : i + 1, i:last]
        w[:, last:] -= lost @ inverse[first:last, last:]
    return out.to(weight.dtype)


def _inverse_factor(hessian: Tensor) -> Tensor:
    """The upper Cholesky factor ``[in, in]`` of the damped Hessian's inverse: what each later column should
    take over.

    Raises:
        InputError: a Hessian that is not positive definite even with damping, or not finite.
    """
    import torch

    h = hessian.double().clone()
    silent = h.diagonal() == 0
    h[silent, silent] = 1
    h.diagonal().add_(DAMPING * h.diagonal().mean())
    try:
        return torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    except torch.linalg.LinAlgError as error:
        smallest = float(h.diagonal().min())
        raise InputError(
            f"hessian [{len(h)}, {len(h)}] with a smallest diagonal entry of {smallest:.3g}: expected "
            f"sums of products of "
            "finite inputs, XᵀX, which have a Cholesky factor; does the calibration text give NaN or "
            "infinity?"
        ) from error


def linears(model: Any) -> dict[str, torch.nn.Linear]:
    """Linear layers of ``model`` by name, without the head that shares the embedding's weights."""
    import torch

    return {
        n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and not n.endswith("lm_head")
    }


@contextmanager
def inputs_to(model: Any, receive: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Call ``receive(name, x)`` with the inputs ``x [..., in]`` of every linear layer that runs inside the
    block.
    """

    def hook_of(name: str) -> Callable[[Any, tuple], None]:
        return lambda _, inputs: receive(name, inputs[0].detach())

    handles = [layer.register_forward_pre_hook(hook_of(name)) for name, layer in linears(model).items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def hessians(model: Any, run: Callable[[], object]) -> dict[str, Tensor]:
    """``Xᵀ X`` of the inputs of every linear layer while ``run`` runs the model."""
    sums: dict[str, Tensor] = {}

    def add(name: str, x: Tensor) -> None:
        rows = x.reshape(-1, x.shape[-1]).float()
        sums[name] = sums.get(name, 0) + rows.T @ rows

    with inputs_to(model, add):
        run()
    return sums


@contextmanager
def replaced(model: Any, change: Callable[[str, Tensor], Tensor], names: Iterable[str] | None = None):
    """``model`` with the weights of its linear layers (or of those in ``names``) replaced by ``change(name,
    weight)``, until the block ends.

    The numbers are those of quantized weights, the arithmetic stays the model's own: quality is measured, not
    speed.
    """
    import torch

    chosen = linears(model)
    kept = {name: chosen[name].weight.data for name in (chosen if names is None else names)}
    try:
        with torch.no_grad():
            for name, weight in kept.items():
                chosen[name].weight.data = change(name, weight)
        yield model
    finally:
        for name, weight in kept.items():
            chosen[name].weight.data = weight
