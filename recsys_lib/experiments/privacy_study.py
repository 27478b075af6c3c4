"""The recorded study of privacy in training: federated maps on both catalogues, and a fine-tuned encoder.

``run`` does the parts that ``data/measurements/privacy-study.json`` lacks: what updates give away and what
noise costs on the books and, with more users, on the films; whether one can tell who was in the data that an
encoder was fine-tuned on, and what its users' vectors give away; and membership in the data of an encoder
trained by DP-SGD, from its weights, at several ε.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys_lib import evaluation
from recsys_lib.core import paths
from recsys_lib.evaluation.protocols import dataset_of, split_of
from recsys_lib.evaluation.tuning import known_users
from recsys_lib.experiments import federated_map
from recsys_lib.experiments.notebook_record import resume
from recsys_lib.experiments.private_curves import told
from recsys_lib.experiments.study.item_texts import encode, whitened
from recsys_lib.llm.finetune.batches import ItemBlocks
from recsys_lib.llm.finetune.objectives import Contrastive
from recsys_lib.llm.finetune.text_model import TextModel
from recsys_lib.llm.finetune.trainer import Settings, Trainer
from recsys_lib.recommenders import EASE, BaseRecommender, Popularity, TextProfile
from recsys_lib.trust.privacy import accountant, membership, reconstruction, releases, weight_attacks
from recsys_lib.trust.privacy.private_ease import PrivateEASE
from recsys_lib.trust.privacy.private_encoder import Plan, small
from recsys_lib.trust.privacy.private_encoder import train as train_privately
from recsys_lib.trust.privacy.releases import DELTA

NOTEBOOK = "11_privacy"
FILMS, BOOKS = "ml-100k random", "book-crossing random"
K = 10
# A round has about as many participants on both catalogues: everybody of the films, 0.15 of the books' users.
RATES = {FILMS: 1.0, BOOKS: 0.15}
EPSILONS = (np.inf, 100.0, 30.0, 10.0, 3.0)
# Models that are compared at the same ε, each pair tested over users.
PRIVATE = (100.0, 10.0)
SHADOWS, ATTACKED = 8, 40
# Steps of 64 items in which an encoder's last layer is trained: two epochs of the films.
STEPS = 52
# Of the encoder that is trained as a whole by DP-SGD: layers kept, and the learning rates that are tried.
LAYERS, LEARNING_RATES, GUARANTEES, PLAN = 2, (0.1, 0.5), (10.0,), Plan()

# Strengths at which an encoder's weights are attacked: ε, None for no noise.
STRENGTHS = (None, 30.0, 10.0, 3.0, 1.0)
# The encoder whose weights are attacked is smaller yet than the one above, since it is trained 40 times.
ATTACKED_LAYERS, ATTACKED_PLAN = 1, Plan(learning_rate=0.1, per_user=2, negatives=4)


def maps(protocol: str) -> dict[str, Any]:
    """Metrics of federated training on one catalogue: attack, NDCG and bytes of every form of update, the
    curve over ε beside private EASE, who is told to have taken part, and membership in the training data.
    """
    items, split = dataset_of(protocol), split_of(protocol, 0).with_validation()
    train, test, rate = split.train, split.test, RATES[protocol]
    vectors = whitened(encode(items, "minilm"), train)
    users = _attacked(train)
    models = federated_map.fitted_maps(vectors, train, EPSILONS, rate=rate)
    table = federated_map.price_updates(models, train, test, users, K)
    sent = federated_map.first_round(models["update"].item_vectors, train, users)[0]
    few = federated_map.Updates(sent.left[:1000], sent.right[:1000])
    return {
        "updates": table.drop(columns="epsilon").astype(float).T.to_dict(),
        "took_part": federated_map.participations(few).T.to_dict(),
        "comparisons": _beside_ease(models, train, test),
        "membership": {name: _membership(vectors, train, name, rate) for name in (np.inf, 10.0)},
    }


def _attacked(train: sp.csr_matrix) -> np.ndarray:
    lengths = np.diff(train.indptr)
    return np.random.default_rng(0).permutation(np.flatnonzero(lengths >= 5))[: ATTACKED + 8]


def _beside_ease(models: Any, train: sp.csr_matrix, test: sp.csr_matrix) -> dict[str, Any]:
    """NDCG of maps less that of private EASE at the same ε, paired over users, Holm-corrected."""
    ease = {f"ε = {e:g}": PrivateEASE(e).fit(train) for e in PRIVATE}
    others = {"EASE": EASE(400.0).fit(train), "popularity": Popularity().fit(train)}
    found = {name: evaluation.evaluate(m, train, test, K) for name, m in (ease | others).items()}
    tests = {}
    for e in PRIVATE:
        own = evaluation.evaluate(models[federated_map.name_of(e)], train, test, K)
        tests[f"ε = {e:g}"] = evaluation.compare(own, found[f"ε = {e:g}"])
        found[f"map, ε = {e:g}"] = own
    corrected = evaluation.holm([t.p_value for t in tests.values()])
    return {
        "ndcg": {name: one.mean()["ndcg"] for name, one in found.items()},
        "per user": {
            name: one.per_user["ndcg"].round(4).tolist() for name, one in found.items() if "ε" in name
        },
        "map less private EASE": {
            name: {"difference": t.difference, "low": t.low, "high": t.high, "Holm p": float(p)}
            for (name, t), p in zip(tests.items(), corrected, strict=True)
        },
    }


def _membership(vectors: np.ndarray, train: sp.csr_matrix, epsilon: float, rate: float) -> dict[str, float]:
    def make(number: int) -> BaseRecommender:
        return federated_map.private_map(vectors, epsilon, rate=rate, seed=number)

    return told(membership.shadow_models(make, train, SHADOWS))


class TunedProfile(TextProfile):
    """A text profile over vectors of an encoder whose last layer is fine-tuned on the training users."""

    def __init__(self, texts: list[str], seed: int = 0, steps: int = STEPS):
        super().__init__(np.zeros((len(texts), 1), np.float32))
        self.texts, self.seed, self.steps = texts, seed, steps

    def _fit(self, train: sp.csr_matrix, times: sp.csr_matrix | None) -> None:
        model = TextModel("minilm", self.texts, "last 1", seed=self.seed)
        settings = Settings(self.steps, 3e-4, warmup=5, seed=self.seed)
        batches = ItemBlocks(train, 64, seed=self.seed)
        Trainer(model, batches, Contrastive(model.dimension, seed=self.seed), settings).fit()
        super().__init__(whitened(model.encode(), train))
        super()._fit(train, times)


def encoder(protocol: str) -> dict[str, Any]:
    """Who was in the data that an encoder was fine-tuned on: likelihood ratios over shadow encoders, and what
    the training gains.
    """
    items, split = dataset_of(protocol), split_of(protocol, 0).with_validation()
    texts, train, test = items.item_texts(), split.train, split.test
    frozen = TextProfile(whitened(encode(items, "minilm"), train)).fit(train)
    shadows = membership.shadow_models(lambda number: TunedProfile(texts, number), train, SHADOWS)
    tuned = TunedProfile(texts).fit(train)
    ndcg = {n: evaluation.evaluate(m, train, test, K) for n, m in {"frozen": frozen, "tuned": tuned}.items()}
    less = evaluation.compare(ndcg["tuned"], ndcg["frozen"])
    return {
        "membership": told(shadows),
        "ndcg": {name: one.mean()["ndcg"] for name, one in ndcg.items()},
        "tuned less frozen": {"difference": less.difference, "low": less.low, "high": less.high},
    }


def tuned_vectors(protocol: str) -> dict[str, Any]:
    """What comes back of a history from users' vectors of the fine-tuned encoder, and of the frozen one, in
    float32, int8 and one bit a number, by the fraction of the history.
    """
    items, split = dataset_of(protocol), split_of(protocol, 0).with_validation()
    train, users = split.train, _attacked(split.train)
    frozen = TextProfile(whitened(encode(items, "minilm"), train)).fit(train)
    models = {"frozen": frozen, "tuned": TunedProfile(items.item_texts()).fit(train)}
    popularity, found = np.asarray(train.sum(axis=0)).ravel(), {}
    for name, model in models.items():
        known = (model.item_vectors, train[users], popularity)
        u = model.profiles(users)
        forms = [releases.plain(u), releases.quantized(u, "int8"), releases.quantized(u, "binary")]
        attacks = {form.name: reconstruction.attack(form.vectors, *known).mean() for form in forms}
        found[name] = {form: attack["recall"] for form, attack in attacks.items()}
        found[name]["without the vector"] = attacks["float32"]["baseline"]
    return found


def encoder_weights(protocol: str) -> dict[str, Any]:
    """Membership in the data of a small encoder that DP-SGD trained, from its weights, at every strength.

    ndcg: of text profiles of two of the shadow encoders, each trained on half of the users; the encoder
    before training is "before".
    """
    items, split = dataset_of(protocol), split_of(protocol, 0).with_validation()
    texts, train, n = items.item_texts(), split.train, split.train.shape[0]
    start = small("minilm", texts, ATTACKED_LAYERS)
    first = weight_attacks.flat(start)
    member = membership.drawn_members(SHADOWS, n)
    changes, ndcg = [], {"before": _profile(start, train, split.test).mean()["ndcg"]}
    for strength in STRENGTHS:
        plan = replace(ATTACKED_PLAN, noise=_noise(strength, ATTACKED_PLAN))
        found = []
        for number in range(SHADOWS):
            model = small("minilm", texts, ATTACKED_LAYERS)
            train_privately(model, train[np.flatnonzero(member[number])], replace(plan, seed=number))
            changes.append(weight_attacks.flat(model) - first)
            if number < 2:
                found.append(_profile(model, train, split.test).mean()["ndcg"])
        ndcg[federated_map.label(strength)] = float(np.mean(found))
    moved = weight_attacks.movement(start, changes, train, ATTACKED_PLAN).reshape(len(STRENGTHS), SHADOWS, n)
    attacks = {
        federated_map.label(strength): told(membership.Shadows(one, member))
        for strength, one in zip(STRENGTHS, moved, strict=True)
    }
    return {"membership": attacks, "ndcg": ndcg, "plan": asdict(ATTACKED_PLAN), "weights": len(first)}


def _noise(epsilon: float | None, plan: Plan) -> float:
    return 0.0 if epsilon is None else accountant.sampled_noise(epsilon, DELTA, plan.rate, plan.steps)


def private_encoder(protocol: str, epsilon: float | None) -> dict[str, Any]:
    """DP-SGD of all weights of MiniLM's first layers: NDCG of the text profile before and after, at the
    learning rate that the validation part prefers, paired over users. ``epsilon``: None for no noise.
    """
    items, split = dataset_of(protocol), split_of(protocol, 0)
    texts, whole = items.item_texts(), split.with_validation()
    noise = _noise(epsilon, PLAN)
    held = known_users(split.validation, split.train)
    tried = {}
    for rate in LEARNING_RATES:
        model, _ = _trained(texts, split.train, replace(PLAN, noise=noise, learning_rate=rate))
        tried[rate] = _profile(model, split.train, held).mean()["ndcg"]
    plan = replace(PLAN, noise=noise, learning_rate=max(tried, key=tried.__getitem__))
    model, training = _trained(texts, whole.train, plan)
    before = _profile(small("minilm", texts, LAYERS), whole.train, whole.test)
    after = _profile(model, whole.train, whole.test)
    test = evaluation.compare(after, before)
    return {
        "epsilon": None if epsilon is None else plan.epsilon(DELTA), "delta": DELTA, "plan": asdict(plan),
        "training": training, "tried": {f"{rate:g}": value for rate, value in tried.items()},
        "ndcg": {"before": before.mean()["ndcg"], "after": after.mean()["ndcg"]},
        "after less before": {"difference": test.difference, "low": test.low, "high": test.high,
                              "p": test.p_value},
        "per user": {n: e.per_user["ndcg"].round(4).tolist() for n, e in
                     {"before": before, "after": after}.items()},
    }  # fmt: skip


def _trained(texts: list[str], train: sp.csr_matrix, plan: Plan) -> tuple[TextModel, dict[str, float]]:
    model = small("minilm", texts, LAYERS)
    return model, train_privately(model, train, plan)


def _profile(model: TextModel, train: sp.csr_matrix, test: sp.csr_matrix) -> evaluation.Evaluation:
    fitted = TextProfile(whitened(model.encode(), train)).fit(train)
    return evaluation.evaluate(fitted, train, test, K)


PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "maps": maps, "encoder": encoder, "private encoder": private_encoder,
    "tuned vectors": tuned_vectors, "encoder weights": encoder_weights,
}  # fmt: skip


def run(path: Path | None = None) -> Path:
    """Do the parts that the record lacks, the most decisive first, and write it after each."""
    path = path or paths.MEASUREMENTS / f"{federated_map.RECORD}.json"
    cases: list[dict[str, Any]] = [
        {"part": part, "protocol": protocol}
        for part, protocol in (("maps", BOOKS), ("encoder", FILMS), ("maps", FILMS))
    ]
    cases += [{"part": "private encoder", "protocol": FILMS, "epsilon": e} for e in (None, *GUARANTEES)]
    cases += [{"part": part, "protocol": FILMS} for part in ("tuned vectors", "encoder weights")]

    def measure(case: Mapping[str, Any]) -> dict[str, Any]:
        return PARTS[case["part"]](**{name: value for name, value in case.items() if name != "part"})

    return resume(path, NOTEBOOK, cases, measure)
