"""What all recommenders share: training users and new histories are scored by the same code,
and saved in one format.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp

from recsys_lib.core import memory, storage
from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import checks

# Kinds of saved objects are this and the name of the class.
KIND = "recommender."
# Below this many bytes a request for scores is not worth a look at the memory.
_SMALL = 2**30


class BaseRecommender:
    """A recommender states how it fits and how it scores histories; checks, rows of users and files are
    common.

    A child sets ``settings`` (names of its arguments that are JSON values) and ``arrays`` (names of its
    attributes, dense arrays or CSR matrices or None, that scoring reads), and defines ``_fit`` and
    ``_score``.
    """

    settings: ClassVar[tuple[str, ...]] = ()
    arrays: ClassVar[tuple[str, ...]] = ()
    # Whether fit and score read times; those that do not accept and ignore them.
    reads_times: bool = False
    device: str = "cpu"
    n_items: int = 0
    train: sp.csr_matrix | None = None

    _classes: ClassVar[dict[str, type[BaseRecommender]]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        BaseRecommender._classes[cls.__name__] = cls

    # ---------------------------------------------------------------- fitting and scoring

    def fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None = None) -> Self:
        """Fit on interactions ``[n_users, n_items]``; ``times``: as ``Dataset.times`` gives them, for those
        that read them.

        Raises:
            InputError: no sparse matrix, negative or not finite weights, times of another pattern, too little
                memory.
        """
        matrix = checks.interactions(train)
        self.n_items, self.train = matrix.shape[1], None
        try:
            with memory.refused_when_exhausted(f"{type(self).__name__}.fit on {matrix.shape}"):
                self.train = self._prepared(matrix, times)
                self._fit(matrix, times)
        except BaseException:
            # Half a fit must not score.
            self.n_items, self.train = 0, None
            raise
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        """Scores of all items for ``users`` (rows of the training matrix), float32 ``[len(users), n_items]``.

        Raises:
            InputError: before ``fit``, after ``load``, users that do not exist.
        """
        rows = checks.users_of(self.train, users, loaded=self.n_items > 0)
        return self._checked_score(checks.rows(self.train, rows))

    def score(self, histories: sp.csr_matrix, times: sp.csr_matrix | None = None) -> np.ndarray:
        """Scores of all items for ``histories [n, n_items]`` of any users, float32 ``[n, n_items]``.

        ``times``: CSR of the same pattern, for those that read them. The history of a user of the training
        matrix gets what ``scores`` gives that user; a class for which this does not hold says so.

        Raises:
            InputError: before ``fit``, another number of items than in training, negative or not finite
                weights.
        """
        return self._checked_score(self._prepared(checks.new_histories(histories, self.n_items), times))

    def _checked_score(self, histories: sp.csr_matrix) -> np.ndarray:
        needed = 4 * histories.shape[0] * histories.shape[1]
        what = (
            f"{type(self).__name__}: scores of {histories.shape[0]:,} histories for "
            f"{histories.shape[1]:,} items"
        )
        if needed > _SMALL:
            memory.require(2 * needed, what, "score fewer histories at once")
        with memory.refused_when_exhausted(what, "score fewer histories at once"):
            return self._score(histories)

    def _prepared(self, histories: sp.csr_matrix, times: sp.csr_matrix | None) -> sp.csr_matrix:
        """What ``_score`` reads of interactions: they themselves, or weighted by their times."""
        return histories

    def _fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None) -> None:
        raise NotImplementedError

    def _score(self, histories: sp.csr_matrix) -> np.ndarray:
        raise NotImplementedError

    # ---------------------------------------------------------------- saving and loading

    def save(self, folder: str | Path) -> None:
        """Save what ``score`` needs to ``folder``; the training users' histories stay out unless the class
        says otherwise.

        Raises:
            InputError: before ``fit``, or a folder that cannot be written.
        """
        arrays, meta = self._state()
        storage.save(folder, KIND + type(self).__name__, arrays, meta)

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> Self:
        """What ``save`` wrote to ``folder``; it gives the same ``score`` of any history. Its arrays are
        mapped into memory, see ``core.storage.load``.

        Raises:
            InputError: no saved object there, another class, a damaged one, no such device.
        """
        arrays, meta = storage.load(folder, KIND + cls.__name__, mapped=True)
        return cls._from_state(arrays, meta, str(folder), checks.device(device))

    def _state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        if not self.n_items:
            raise InputError(f"{type(self).__name__}: save before fit, call fit(train) first")
        arrays: dict[str, np.ndarray] = {}
        forms = {}
        for name in self.arrays:
            value = getattr(self, name)
            if sp.issparse(value):
                forms[name] = "csr"
                parts = {
                    "data": value.data,
                    "indices": value.indices,
                    "indptr": value.indptr,
                    "shape": value.shape,
                }
                arrays |= {f"{name}.{part}": np.asarray(content) for part, content in parts.items()}
            else:
                forms[name] = "none" if value is None else "dense"
                arrays |= {} if value is None else {name: value}
        settings = {name: _plain(getattr(self, name)) for name in self.settings}
        return arrays, {"n_items": self.n_items, "settings": settings, "forms": forms}

    @classmethod
    def _from_state(
        cls, arrays: dict[str, np.ndarray], meta: dict[str, Any], where: str, device: str
    ) -> Self:
        found = {"settings": set(meta.get("settings", ())), "arrays": set(meta.get("forms", ()))}
        expected = {"settings": set(cls.settings), "arrays": set(cls.arrays)}
        if found != expected:
            raise InputError(
                f"{where}: {cls.__name__} of another version of this library; fit and save it again"
            )
        model = cls.__new__(cls)
        for name, value in meta["settings"].items():
            setattr(model, name, value)
        for name, form in meta["forms"].items():
            setattr(model, name, None if form == "none" else _array(arrays, name, form))
        model.n_items, model.device = meta["n_items"], device
        model._restore(arrays)
        return model

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Build what follows from the settings and arrays, which are already set."""


def _array(arrays: dict[str, np.ndarray], name: str, form: str) -> np.ndarray | sp.csr_matrix:
    if form == "dense":
        return arrays[name]
    data, indices, indptr, shape = (
        arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr", "shape")
    )
    return sp.csr_matrix((data, indices, indptr), shape=tuple(shape.tolist()))


def _plain(value: Any) -> Any:
    """A setting as JSON has it: NumPy's numbers become Python's."""
    return value.item() if isinstance(value, np.generic) else value


def load(folder: str | Path, device: str = "cpu") -> BaseRecommender:
    """Whatever recommender was saved to ``folder``.

    Raises:
        InputError: no saved object there, none of a recommender, a damaged one, no such device.
    """
    kind = storage.kind_of(folder)
    known = BaseRecommender._classes.get(kind.removeprefix(KIND))
    if not kind.startswith(KIND) or known is None:
        raise InputError(
            f"{folder}: holds an object of kind {kind!r}, expected a recommender of this library"
        )
    return known.load(folder, device)
