"""A user's files and parameters, read and checked before anything is computed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_lib.core.errors import InputError, did_you_mean
from recsys_lib.data import datasets
from recsys_lib.data.datasets import Dataset
from recsys_lib.experiments.own_catalogue import pictures_column

MAX_LIST = 1000
# Options of ``datasets.from_csv`` that notebook 90 takes in its parameter ``reading``.
# Every option with its default: a separator "" is the one that each header shows.
OPTIONS = {"separator": "", "encoding": "utf-8", "quotes": "check", "match_ids": "exact"}
_ADVICE = re.compile(rf"(pass|needs) ({'|'.join(OPTIONS)})=('[^']*')")
_ALTERNATIVE = re.compile(rf"(\)) or ({'|'.join(OPTIONS)})=('[^']*')")


def check_options(reading: Mapping[str, str] | None) -> dict[str, str]:
    """The options of ``reading`` over the defaults.

    >>> check_options({"quotes": "off"})
    {'separator': '', 'encoding': 'utf-8', 'quotes': 'off', 'match_ids': 'exact'}

    Raises:
        InputError: a name that is not an option, or a value that is not a text.
    """
    given = dict(reading or {})
    for name, value in given.items():
        if name not in OPTIONS:
            hint = did_you_mean(str(name), OPTIONS)
            raise InputError(
                f"reading={given}: no option {name!r}; {hint}expected names among {', '.join(OPTIONS)}"
            )
        if not isinstance(value, str):
            raise InputError(f"reading={given}: {name}={value!r}, expected a text")
    return OPTIONS | given


def name_parameter(message: str) -> str:
    """A message of ``datasets.from_csv`` with its advice in terms of the notebook's parameter.

    >>> name_parameter("pass match_ids='zeros' if they are the same items")
    "pass reading={'match_ids': 'zeros'} if they are the same items"
    """
    message = _ADVICE.sub(r"\1 reading={'\2': \3}", message)
    return _ALTERNATIVE.sub(r"\1 or reading={'\2': \3}", message)


@dataclass(frozen=True, eq=False)
class Catalogue:
    """A user's data, and their own item vectors ``[n_items, d]`` by name, in the order of the data's items.

    notes: what was left out or replaced when the files were read, one sentence each.
    """

    data: Dataset
    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read(
    interactions: Path | None,
    items: Path | None,
    sample_folder: Path,
    *,
    vectors: Path | None = None,
    columns: Mapping[str, str] | None = None,
    reading: Mapping[str, str] | None = None,
    min_rating: float = 0.0,
    min_interactions: int = 1,
) -> Catalogue:
    """The user's files (see ``datasets.from_csv``, and ``OPTIONS`` for ``reading``), or the sample shop if
    both are None.

    An items column ``image`` of file paths adds the pictures' vectors, see ``pictures_column``.
    The sample is written into ``sample_folder``. ``vectors``: a ``.npy`` file with a row for each row of
    the items file. Of several interactions of one user with one item the first counts; those whose item is
    not in the table are dropped; ratings below ``min_rating`` are left out if that is above 0; then the
    ``min_interactions``-core, if that is above 1.

    Raises:
        InputError: an unknown option, one file without the other, what ``from_csv`` refuses, or nothing
        is left.
    """
    options = check_options(reading)
    if (interactions is None) != (items is None):
        given, missing = ("interactions", "items") if items is None else ("items", "interactions")
        raise InputError(f"{given} is given and {missing} is not: give both files, or neither for the sample")
    if interactions is None or items is None:
        if vectors is not None:
            raise InputError(
                "vectors is given and items is not: expected a row for every row of an items file"
            )
        interactions, items = datasets.write_sample(sample_folder)
        options = check_options(None)  # those given are about the user's files
    whole = _whole(interactions, items, columns, options)
    own = {} if vectors is None else {f"own vectors ({vectors.name})": read_vectors(vectors, whole.n_items)}
    shown, said = pictures_column.vectors_of(whole, items.parent)
    own |= shown
    data = _rated(whole, min_rating) if min_rating > 0 else whole
    data = data if min_interactions == 1 else data.k_core(min_interactions)
    kept = pd.Index(whole.items["id"]).get_indexer(data.items["id"])
    return Catalogue(
        data,
        {name: v[kept] for name, v in own.items()},
        (*said, *_notes(whole, data, min_rating, min_interactions)),
    )


def _whole(
    interactions: Path, items: Path, columns: Mapping[str, str] | None, options: Mapping[str, str]
) -> Dataset:
    try:
        whole = datasets.from_csv(
            interactions, items, columns=columns, duplicates="first", unknown_items="drop", **options
        )
    except InputError as error:
        raise InputError(name_parameter(str(error))) from error
    return replace(whole, notes=tuple(map(name_parameter, whole.notes)))


def _rated(data: Dataset, min_rating: float) -> Dataset:
    liked = data.rating >= min_rating
    if not liked.any():
        absent = np.isnan(data.rating).all()
        seen = "there are no ratings" if absent else f"the highest is {np.nanmax(data.rating):g}"
        raise InputError(f"min_rating={min_rating!r}: no interaction is rated so high; {seen}")
    return data.of_interactions(liked)


def _notes(whole: Dataset, data: Dataset, min_rating: float, min_interactions: int) -> tuple[str, ...]:
    """What was left out when the files were read, counted."""
    lines = list(whole.notes)
    everything = whole.n_interactions + whole.n_dropped + whole.n_merged
    if whole.n_dropped:
        lines.append(
            f"{whole.n_dropped:,} of {everything:,} interactions ({whole.n_dropped / everything:.1%}) were "
            "dropped: their item is not in the items file."
        )
    if whole.n_merged:
        lines.append(
            f"{whole.n_merged:,} of {everything:,} interactions repeat a user and an item: the first counts."
        )
    left_out = whole.n_interactions - data.n_interactions
    if left_out:
        rules = [f"min_rating={min_rating:g}"] * (min_rating > 0)
        rules += [f"min_interactions={min_interactions}"] * (min_interactions > 1)
        lines.append(
            f"{left_out:,} of {whole.n_interactions:,} interactions were left out by {' and '.join(rules)}: "
            f"{data.n_users:,} of {whole.n_users:,} users, {data.n_items:,} of {whole.n_items:,} items stay."
        )
    return tuple(lines)


def read_vectors(path: Path, n_items: int) -> np.ndarray:
    """Item vectors float32 ``[n_items, d]`` from a ``.npy`` file, row i for row i of the items file.

    Raises:
        InputError: no such file, no NumPy array of numbers, another number of rows, NaN, infinity, or
        nothing but zeros.
    """
    if path.suffix != ".npy":
        raise InputError(f"vectors={path.name}: expected a .npy file, as numpy.save writes it")
    if not path.is_file():
        raise InputError(f"vectors={path}: no such file")
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"vectors={path.name}: not a NumPy array of numbers ({' '.join(str(error).split())})"
        ) from error
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise InputError(
            f"vectors={path.name}: {array.dtype} of shape {array.shape}, expected numbers [items, dimensions]"
        )
    if len(array) != n_items:
        raise InputError(
            f"vectors={path.name}: {len(array):,} rows, expected {n_items:,}, one per row of the items file"
        )
    with np.errstate(over="ignore"):
        vectors = np.asarray(array, dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise InputError(
            f"vectors={path.name}: row {bad[0]} (the first is 0) and {len(bad) - 1:,} more hold NaN or "
            "infinity: expected finite numbers"
        )
    if not vectors.any():
        raise InputError(f"vectors={path.name}: every value is 0, expected item vectors")
    return vectors


def check_parameters(
    k: int, trials: int, seeds: int, matters: float, min_rating: float, min_interactions: int
) -> None:
    """Refuse parameters out of range before anything is read or computed.

    Raises:
        InputError: the first parameter out of range.
    """
    whole_numbers = {"k": k, "trials": trials, "seeds": seeds, "min_interactions": min_interactions}
    for name, value in whole_numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{name}={value!r}: expected a whole number of at least 1")
    if not 0 < matters < 1:
        raise InputError(f"matters={matters!r}: expected a fraction between 0 and 1, such as 0.05")
    if not 0 <= min_rating < np.inf:
        raise InputError(f"min_rating={min_rating!r}: expected a number of at least 0")


def check_list_length(k: int, data: Dataset) -> None:
    """Refuse lists longer than the catalogue or than ``MAX_LIST``; up to 10 always pass.

    Raises:
        InputError: ``k`` is too large.
    """
    limit = min(MAX_LIST, max(10, data.n_items))
    if k > limit:
        raise InputError(f"k={k!r}: expected at most {limit:,} of the catalogue's {data.n_items:,} items")
