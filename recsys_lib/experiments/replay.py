"""A data set replayed by time through the running service: weeks arrive as events, films as new items, and
the system refits itself.

Each week has four steps. Items that first occur in it are added to the service (``PUT /items``). Of every
user's events of the week the first half is sent (``POST /events``); the service is asked for a list (``POST
/recommend``), and so are a frozen model and recent popularity with the same histories; the second half is
what they are evaluated on. Then it is sent too, as events of the shown list where it holds them, and the
service refits. Nothing of a week is known to a model before that week is over; histories are up to date for
all.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_lib import evaluation
from recsys_lib.core.errors import InputError
from recsys_lib.data.datasets import Dataset
from recsys_lib.evaluation import Evaluation
from recsys_lib.recommenders import RecentPopularity, checks
from recsys_lib.serving import artefact as artefacts
from recsys_lib.serving import fitting
from recsys_lib.serving import http_app as applications
from recsys_lib.serving.events import EventLog, NewItem
from recsys_lib.serving.http_app import Settings
from recsys_lib.serving.interleaving import Interleaved, team_draft
from recsys_lib.serving.off_policy import Draw, draws_of
from recsys_lib.serving.refit import Outcome, Policy, ranked, refit
from recsys_lib.serving.served import Query, Served
from recsys_lib.serving.slate import Rule

WEEK_S = 7 * 86_400
MODELS = ("refitted", "frozen", "recent popularity")
HALF_LIFE_DAYS = 30.0
BATCH = 500


@dataclass(frozen=True, eq=False)
class Week:
    """One week of the replay. evaluations: NDCG@k and others by model, for the users of the week. outcome: of
    the refit at its end. seconds: of sending its events, and of the refit.
    """

    number: int
    events: int
    new_items: int
    evaluations: dict[str, Evaluation]
    outcome: Outcome
    send_s: float
    refit_s: float
    stored: int


@dataclass(frozen=True, eq=False)
class Replay:
    """All weeks; sessions: interleaved lists of refitted and frozen with what was chosen; draws: of the
    quota, as the service logged them; slates: by quota NDCG and the fraction of places that went to cold
    items, a value a user.
    """

    weeks: list[Week]
    sessions: list[tuple[Interleaved, list[int]]]
    draws: list[Draw]
    truth: dict[str, dict[str, float]]
    slates: dict[int, dict[str, np.ndarray]]
    store: Path

    def overall(self) -> dict[str, Evaluation]:
        """Each user's mean over the weeks in which they were evaluated, by model."""
        return {name: evaluation.average([w.evaluations[name] for w in self.weeks]) for name in MODELS}


@dataclass
class _State:
    """What the steps share."""

    data: Dataset
    client: Any
    service: Any
    log: EventLog
    frozen: artefacts.Artefact
    k: int
    sessions: list[tuple[Interleaved, list[int]]] = field(default_factory=list)
    slates: dict[int, dict[str, list[float]]] = field(default_factory=dict)
    chosen: dict[str, set[str]] = field(default_factory=dict)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    @property
    def item_ids(self) -> list[str]:
        return self.data.items["id"].astype(str).tolist()

    @property
    def user_ids(self) -> list[str]:
        return self.data.users["id"].astype(str).tolist()


def run(
    data: Dataset,
    folder: Path,
    first_weeks: int = 6,
    weeks: int = 10,
    encoder: str = "minilm",
    k: int = 10,
    quotas: Sequence[int] = (0, 1, 2, 3),
    policy: Policy | None = None,
) -> Replay:
    """Fit on the ``first_weeks`` and replay the next ``weeks``, with artefacts and events in ``folder``.

    ``quotas``: for which the mixed slate is evaluated beside what the service shows, which has a quota of 2.

    Raises:
        InputError: no times, or fewer weeks than asked for.
    """  # fmt: skip
    from starlette.testclient import TestClient

    if data.timestamp is None:
        raise InputError(f"data set {data.name!r} has no timestamps: nothing to replay")
    week = (data.timestamp - data.timestamp.min()) // WEEK_S
    if not 0 < first_weeks < first_weeks + weeks <= week.max() + 1:
        raise InputError(
            f"first_weeks={first_weeks!r}, weeks={weeks!r}: expected {week.max() + 1} in all at most"
        )
    store = folder / "store"
    begun = fitting.from_dataset(_known_items(data, week < first_weeks), encoder)
    artefacts.put_in_place(store, artefacts.write(begun, store))
    settings = Settings(rule=Rule(quota=2), poll_s=86_400, seed=0)
    app = applications.create(store, folder / "events.sqlite", settings)
    log = EventLog(folder / "events.sqlite")
    with TestClient(app) as client:
        state = _State(data, client, app.service, log, artefacts.load(store), k)
        state.slates = {quota: {"ndcg": [], "cold": []} for quota in quotas}
        found = [_week(state, n, np.flatnonzero(week == n), store, policy or Policy())
                 for n in range(first_weeks, first_weeks + weeks)]  # fmt: skip
    draws, truth = _logged(log, state.chosen)
    slates = {q: {n: np.array(v) for n, v in own.items()} for q, own in state.slates.items()}
    log.close()
    return Replay(found, state.sessions, draws, truth, slates, store)


def _known_items(data: Dataset, chosen: np.ndarray) -> Dataset:
    """The chosen interactions with the users and items that occur in them."""
    return data.select(np.flatnonzero(chosen))


def _week(state: _State, number: int, rows: np.ndarray, store: Path, policy: Policy) -> Week:
    data, times = state.data, state.data.timestamp
    assert times is not None
    rows = rows[np.argsort(times[rows], kind="stable")]
    new_items = _add_items(state, rows)
    first, second = _halves(data.user[rows], rows)
    started = time.perf_counter()
    _send(state, first, f"w{number}a")
    send_s = time.perf_counter() - started
    evaluations, lists = _evaluate(state, second)
    started = time.perf_counter()
    _send(state, second, f"w{number}b", lists)
    send_s += time.perf_counter() - started
    outcome = refit(store, state.log, policy)
    state.service.follow()
    stored = state.log.counts()["events"]
    return Week(number, len(rows), new_items, evaluations, outcome, send_s, outcome.seconds, stored)


def _halves(users: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of every user's rows, in order of time, the first half (rounded up) and the rest."""
    order = np.argsort(users, kind="stable")
    counts = np.unique(users[order], return_counts=True)[1]
    place = np.concatenate([np.arange(n) for n in counts])
    is_first = np.zeros(len(rows), dtype=bool)
    is_first[order] = place < np.repeat((counts + 1) // 2, counts)
    return rows[is_first], rows[~is_first]


def _add_items(state: _State, rows: np.ndarray) -> int:
    """Items that first occur in these rows become new items of the service."""
    known = state.service.state.served.catalogue.index
    ids, data = state.item_ids, state.data
    catalogue = fitting.catalogue_of(data)
    fresh = [place for place in np.unique(data.item[rows]).tolist() if ids[place] not in known]
    for start in range(0, len(fresh), 100):
        items = [
            {"id": ids[i], "title": catalogue.titles[i], "labels": list(catalogue.labels[i]),
             "text": catalogue.texts[i]}
            for i in fresh[start : start + 100]
        ]  # fmt: skip
        answer = state.client.put("/items", json={"items": items})
        assert answer.status_code == 200, answer.text
    return len(fresh)


def _send(state: _State, rows: np.ndarray, key: str, lists: dict[str, Any] | None = None) -> None:
    """Rows as events, in requests of many; an event of a shown list names it."""
    assert state.data.timestamp is not None
    items, users, shown = state.item_ids, state.user_ids, lists or {}
    events = []
    for row in rows.tolist():
        user, item = users[state.data.user[row]], items[state.data.item[row]]
        event = {"key": f"{key}-{row}", "user": user, "item": item, "time": int(state.data.timestamp[row])}
        if user in shown and item in shown[user]["ids"]:
            event["list_id"] = shown[user]["list_id"]
        events.append(event)
    for start in range(0, len(events), BATCH):
        answer = state.client.post("/events", json={"events": events[start : start + BATCH]})
        assert answer.status_code == 202, answer.text


def _evaluate(state: _State, rows: np.ndarray) -> tuple[dict[str, Evaluation], dict[str, Any]]:
    """All models on the second halves, with the histories that the service has now; and what it showed."""
    data, served = state.data, state.service.state.served
    catalogue = served.catalogue
    users = np.unique(data.user[rows])
    names = [state.user_ids[u] for u in users]
    histories = [state.service.state.history(name) for name in names]
    index, ids = catalogue.index, state.item_ids
    chosen = [[index[ids[i]] for i in data.item[rows][data.user[rows] == u]] for u in users]
    seen, test = _matrix(histories, served.n_items), _matrix(chosen, served.n_items)
    frozen = Served(state.frozen, _as_new(served, state.frozen))
    order = _to_places(frozen, served)
    evaluations = {"refitted": ranked(served, seen, test, state.k)}
    evaluations["frozen"] = _in_places(ranked(frozen, seen[:, order], test[:, order], state.k), order)
    evaluations["recent popularity"] = evaluation.evaluate(
        _popular(served, len(histories)), seen, test, state.k
    )
    _interleave(state, evaluations, chosen)
    _slates(state, served, histories, test)
    of_users = {name: _of(e, users) for name, e in evaluations.items()}
    return of_users, _shown(state, names, chosen, catalogue.ids)


def _matrix(rows: Sequence[Any], n_items: int) -> sp.csr_matrix:
    return checks.as_matrix([np.unique(np.asarray(row, dtype=np.int64)) for row in rows], n_items)


def _of(found: Evaluation, users: np.ndarray) -> Evaluation:
    """The same with the data set's users, and without lists, whose places differ from week to week."""
    return Evaluation.without_lists(found.k, users[found.users], found.per_user)


def _as_new(served: Served, old: artefacts.Artefact) -> list[NewItem]:
    """The items that an old artefact lacks, for its own map to place."""
    catalogue, known = served.catalogue, old.catalogue.index
    return [
        NewItem(i, catalogue.titles[n], catalogue.labels[n], catalogue.texts[n], served.raw_vector(n)[0])
        for n, i in enumerate(catalogue.ids)
        if i not in known
    ]


def _to_places(inner: Served, outer: Served) -> np.ndarray:
    """For every item of ``inner`` its place in ``outer``."""
    return np.array([outer.catalogue.index[i] for i in inner.catalogue.ids], dtype=np.int64)


def _in_places(found: Evaluation, order: np.ndarray) -> Evaluation:
    ids = np.where(found.ids >= 0, order[np.maximum(found.ids, 0)], -1)
    return Evaluation(found.k, found.users, found.per_user, ids)


class _Scores:
    """The same scores for every user."""

    def __init__(self, scores: np.ndarray, n: int):
        self._scores = np.tile(scores, (n, 1)).astype(np.float32)

    def fit(self, train: sp.csr_matrix) -> _Scores:
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        return self._scores[users]


def _popular(served: Served, n: int) -> _Scores:
    """Recent popularity of what was known at the last refit; new items have none."""
    own = served.artefact.interactions
    n_items = served.artefact.n_items
    shape = (len(own.user_ids), n_items)
    seconds = (own.time - own.time.min() + 1).astype(np.float64)
    times = sp.csr_matrix((seconds, (own.user, own.item)), shape=shape)
    model = RecentPopularity(HALF_LIFE_DAYS).fit(own.matrix(n_items), times)
    return _Scores(np.pad(model.counts, (0, served.n_items - n_items)), n)


def _interleave(state: _State, evaluations: dict[str, Evaluation], chosen: Sequence[list[int]]) -> None:
    """One list of the refitted and the frozen model for every user, and what the user chose from it."""
    new, old = evaluations["refitted"], evaluations["frozen"]
    for first, second, user in zip(old.ids, new.ids, new.users.tolist(), strict=True):
        shown = team_draft(first[first >= 0], second[second >= 0], state.k, state.rng)
        state.sessions.append((shown, [i for i in shown.ids.tolist() if i in set(chosen[user])]))


def _slates(state: _State, served: Served, histories: Sequence[Any], test: sp.csr_matrix) -> None:
    """Lists of every quota for all users: NDCG, and the fraction of places that cold items got."""
    none = np.empty(0, dtype=np.int64)
    queries = [Query(history, none, state.k) for history in histories]
    for quota, kept in state.slates.items():
        rule = Rule(quota=quota)
        cold = served.counts < rule.cold_below
        lists = [found.ids for found, _ in served.recommend(queries, rule, np.random.default_rng(quota))]
        ids = np.array([np.pad(own, (0, state.k - len(own)), constant_values=-1) for own in lists])
        found = evaluation.evaluate_lists(ids, np.arange(len(ids)), test)
        kept["ndcg"] += found.per_user["ndcg"].tolist()
        kept["cold"] += [float(cold[own].mean()) for own in lists]


def _shown(
    state: _State, names: Sequence[str], chosen: Sequence[list[int]], ids: Sequence[str]
) -> dict[str, Any]:
    """What the service shows to each user, asked over HTTP."""
    lists = {}
    for name, own in zip(names, chosen, strict=True):
        answer = state.client.post("/recommend", json={"user": name, "k": state.k})
        assert answer.status_code == 200, answer.text
        content = answer.json()
        lists[name] = {"list_id": content["list_id"], "ids": {item["id"] for item in content["items"]}}
        state.chosen[content["list_id"]] = {ids[place] for place in own}
    return lists


def _logged(log: EventLog, chosen: dict[str, set[str]]) -> tuple[list[Draw], dict[str, dict[str, float]]]:
    """The draws that the service logged, and what each candidate would have earned.

    In a replay the truth is known: a candidate earns 1 if the user chose it in the second half of the week.
    ``chosen``: by list, in the order of asking. The first draws of all lists come first, then the second
    ones: an estimate splits draws by turns, and its halves see the same users and places whatever candidates
    change places, as nearly equal scores do from processor to processor.
    """
    rows = {row["id"]: row for row in log.lists()}
    found = []
    for list_id, own in chosen.items():
        for place, draw in enumerate(draws_of([rows[list_id]])):
            found.append((place, draw, {item: float(item in own) for item in draw.candidates}))
    found.sort(key=lambda drawn: drawn[0])
    return [draw for _, draw, _ in found], {str(n): would for n, (_, _, would) in enumerate(found)}


def true_value(replay: Replay, policy: Any) -> float:
    """What ``policy`` would have earned per draw, by what users chose in truth."""
    return float(np.mean(list(_true_rewards(replay, policy))))


def _true_rewards(replay: Replay, policy: Any) -> Iterator[float]:
    for place, draw in enumerate(replay.draws):
        own = replay.truth[str(place)]
        yield float(policy(draw.candidates) @ [own[item] for item in draw.candidates])
