"""Many token sequences through one transformer pass, without padding, on top of prefixes that were read
before.

All new tokens of a batch lie one after another in a single row, so that every matrix product of the model
sees them together. Only attention knows which tokens belong together: new segments that share a prefix form a
group, every segment sees the prefix's stored keys and values and, causally, itself. Any decoder of
transformers that takes its attention from transformers' table of attention functions runs unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recsys_lib.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

NAME = "recsys_packed"
# Segments of a group are attended together up to so many tokens: the mask hides what a segment must not see
# of the others.
CHUNK_TOKENS = 128


@dataclass(eq=False)
class Prefix:
    """Tokens already read, ``length`` of them, which later passes of the same model continue."""

    length: int


@dataclass(eq=False)
class KeysAndValues(Prefix):
    """A prefix as its keys and values per layer, ``[key heads, length, head dimension]`` each."""

    keys: list[Tensor]
    values: list[Tensor]


@dataclass(frozen=True)
class Group:
    """New segments of tokens that continue one prefix (None: the beginning)."""

    prefix: Any
    segments: Sequence[Sequence[int]]


@dataclass(eq=False)
class Extension:
    """Result of a pass: hidden states ``[n, d]`` of every segment's last token, or of all its tokens, where
    each segment ends among them, and the new prefixes if kept."""

    hidden: Tensor
    ends: list[int]
    prefixes: list[Prefix]

    def last(self) -> Tensor:
        """Hidden state of the last token of every segment, ``[segments, d]``."""
        return self.hidden[[end - 1 for end in self.ends]]


@dataclass(frozen=True, eq=False)
class _Chunk:
    """Neighbouring segments of a group: tokens ``begin`` to ``end`` of the pass, and who sees whom (None:
    plain causal)."""

    prefix: KeysAndValues | None
    begin: int
    end: int
    mask: Tensor | None


class _Pass:
    """One pass: what attention needs to know, and the keys and values it saw if they are to be kept."""

    def __init__(self, groups: Sequence[Group], keep: bool, device: Any):
        self.keep = keep
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.segments: list[tuple[KeysAndValues | None, int, int]] = []
        self.chunks: list[_Chunk] = []
        for group in groups:
            self._add(group, device)

    def _add(self, group: Group, device: Any) -> None:
        before = 0 if group.prefix is None else group.prefix.length
        pending: list[int] = []
        begin = len(self.ids)
        for segment in group.segments:
            if pending and len(self.ids) - begin + len(segment) > CHUNK_TOKENS:
                self.chunks.append(_chunk(group.prefix, begin, pending, device))
                begin, pending = len(self.ids), []
            self.segments.append((group.prefix, len(self.ids), len(self.ids) + len(segment)))
            self.ids += segment
            self.positions += range(before, before + len(segment))
            pending.append(len(segment))
        if pending:
            self.chunks.append(_chunk(group.prefix, begin, pending, device))

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """Attention of all new tokens: ``query [heads, T, d]``, ``key`` and ``value [key heads, T, d]``;
        gives ``[T, heads, d]``."""
        import torch

        if self.keep:
            self.kept[layer] = (key, value)
        out = torch.empty_like(query)
        for c in self.chunks:
            k, v = key[:, c.begin : c.end], value[:, c.begin : c.end]
            if c.prefix is not None:
                k = torch.cat([c.prefix.keys[layer], k], dim=1)
                v = torch.cat([c.prefix.values[layer], v], dim=1)
            q = query[None, :, c.begin : c.end]
            out[:, c.begin : c.end] = torch.nn.functional.scaled_dot_product_attention(
                q, k[None], v[None], attn_mask=c.mask, is_causal=c.mask is None, scale=scaling,
                enable_gqa=query.shape[0] != key.shape[0],
            )[0]  # fmt: skip
        return out.transpose(0, 1)

    def prefixes(self) -> list[Prefix]:
        """What was read so far at the end of every segment."""
        import torch

        layers = sorted(self.kept)
        found: list[Prefix] = []
        for prefix, begin, end in self.segments:
            keys = [self.kept[layer][0][:, begin:end] for layer in layers]
            values = [self.kept[layer][1][:, begin:end] for layer in layers]
            if prefix is not None:
                keys = [torch.cat(pair, dim=1) for pair in zip(prefix.keys, keys, strict=True)]
                values = [torch.cat(pair, dim=1) for pair in zip(prefix.values, values, strict=True)]
            length = end - begin + (0 if prefix is None else prefix.length)
            keys, values = ([part.contiguous() for part in parts] for parts in (keys, values))
            found.append(KeysAndValues(length, keys, values))
        return found


def _chunk(prefix: KeysAndValues | None, begin: int, lengths: list[int], device: Any) -> _Chunk:
    import torch

    size, before = sum(lengths), 0 if prefix is None else prefix.length
    if not before and len(lengths) == 1:
        return _Chunk(prefix, begin, begin + size, None)
    mask = torch.zeros(size, before + size, dtype=torch.bool, device=device)
    mask[:, :before] = True
    at = 0
    for length in lengths:
        own = torch.ones(length, length, dtype=torch.bool, device=device).tril()
        mask[at : at + length, before + at : before + at + length] = own
        at += length
    return _Chunk(prefix, begin, begin + size, mask)


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **options: Any
) -> tuple[Tensor, None]:
    """What transformers calls in every layer, ``[1, heads, T, d]`` each."""
    current: _Pass = options["packed_pass"]
    return current.attend(module.layer_idx, query[0], key[0], value[0], options.get("scaling"))[None], None


def register() -> None:
    """Make ``attn_implementation=NAME`` known to transformers."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _attention)


def check_groups(language_model: Any, groups: Sequence[Group]) -> None:
    """Refuse what no backend can read.

    Raises:
        InputError: an empty segment, no segment, or a prompt longer than the model's positions.
    """
    segments = [(0 if g.prefix is None else g.prefix.length, len(ids)) for g in groups for ids in g.segments]
    if not segments:
        raise InputError("no tokens to read: expected at least one segment")
    if not all(size for _, size in segments):
        raise InputError("a segment of 0 tokens: expected at least one")
    longest = max(before + size for before, size in segments)
    if longest > language_model.max_tokens:
        raise InputError(
            f"a prompt of {longest} tokens: model {language_model.name!r} has "
            f"{language_model.max_tokens} positions; expected a shorter history or fewer candidates"
        )


def extend(
    language_model: Any, groups: Sequence[Group], keep: bool = False, every: bool = False
) -> Extension:
    """Read the segments of all groups in one pass; ``keep`` their keys and values for later passes; give the
    hidden states of ``every`` token, or of each segment's last.

    Raises:
        InputError: as ``check_groups``.
    """
    import torch

    check_groups(language_model, groups)
    run = _Pass(groups, keep, language_model.device)
    ids = torch.tensor([run.ids], device=language_model.device)
    ends = [end for _, _, end in run.segments]
    with torch.inference_mode():
        hidden = _read(language_model, run, input_ids=ids)
        prefixes = run.prefixes() if keep else []
    if every:
        return Extension(hidden, ends, prefixes)
    return Extension(hidden[[end - 1 for end in ends]], list(range(1, len(ends) + 1)), prefixes)


def _read(language_model: Any, run: _Pass, **tokens: Tensor) -> Tensor:
    """Hidden states ``[tokens, d]`` of a pass over ``input_ids`` or ``inputs_embeds``."""
    import torch

    positions = torch.tensor([run.positions], device=language_model.device)
    out = language_model.module.get_decoder()(
        **tokens, position_ids=positions, use_cache=False, packed_pass=run
    )
    return out.last_hidden_state[0]


def differentiable(language_model: Any, ids: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Embeddings ``[tokens, d]`` of one sequence, and the hidden state ``[d]`` of its last token as a
    function of them that can be differentiated.

    Raises:
        InputError: as ``check_groups``, or a model whose backend has no gradients.
    """
    import torch

    groups = [Group(None, [list(ids)])]
    check_groups(language_model, groups)
    run = _Pass(groups, False, language_model.device)
    table = language_model.module.get_input_embeddings()
    embeddings = table(torch.tensor(list(ids), device=language_model.device)).detach().requires_grad_(True)
    return embeddings, _read(language_model, run, inputs_embeds=embeddings[None])[-1]
