"""Tables, titles and sentences of training from records made by hand: what is paired, averaged and chosen."""

import numpy as np
import pytest

from recsys_lib.experiments.notebook_record import _plain
from recsys_lib.reporting import plots
from recsys_lib.reporting.figures import training as figures

CASES = {"all layers": 0.5, "LoRA": 0.4}


def part(task, name, seed, metrics):
    parameters = {"part": f"{task}, {name}, {seed}", "task": task, "name": name, "seed": seed}
    return {"parameters": parameters, "metrics": _plain(metrics)}


def title_of(ax):
    return " ".join(ax.get_title(loc="left").split())


def ranked(values, users, seed, shift=0.0):
    """Every use of vectors with NDCG near ``values``, the same noise of users for every encoder."""
    noise = np.random.default_rng(seed).normal(0, 0.05, len(users))
    per_user = {use: (value + noise + shift).round(4).tolist() for use, value in values.items()}
    means = {use: float(np.mean(own)) for use, own in per_user.items()}
    return {"ndcg": means, "validation": means, "users": users, "per_user": per_user,
            "validated": [[0, 0.1], [8, 0.3], [16, 0.2]], "trained_weights": 7, "core_seconds": 60.0 + seed,
            "topics": {"en": 0.88 - shift, "zh": 0.59}}  # fmt: skip


def records_by_hand(seeds=3):
    cold = {"alone": 0.30, "map": 0.34, "kernel map": 0.35}
    warm = {"alone": 0.10, "map": 0.20, "EASE": 0.44, "inside EASE": 0.45}
    users = np.arange(50)
    found = []
    for seed in range(seeds):
        mine = users[seed:]  # other users in each draw
        found.append(part("cold", "frozen", seed, ranked(cold, mine, seed)))
        found.append(part("cold", "distilled", seed, ranked(cold, mine, seed, 0.02)))
    found.append(part("cold", "lucky", 0, ranked(cold, users, 0, 0.05)))
    few = {str(n): {use: [0.01 * n + v] * 50 for use, v in warm.items()} for n in (1, 4)}
    for name, shift in (("frozen", 0.0), ("distilled", 0.01)):
        found.append(part("warm", name, 0, ranked(warm, users, 0, shift) | {"few": few}))
    for name, shift in (("frozen", 0.0), ("distilled", 0.03)):
        found.append(part("cold books", name, 0, ranked({"alone": 0.1, "map": 0.12}, users, 0, shift)))
    phases = dict.fromkeys(figures.PHASES, 0.1) | {"backward": 0.6}
    times = {c: {"phases_s": phases, "texts": 10, "tokens_per_s": 1500.0, "fraction_of_peak": v}
             for c, v in CASES.items()}  # fmt: skip
    memory = {c: {"parts": {"weights": 2.0**20}, "estimated": 2.0**22, "measured": 2.0**22 / 1.05,
                  "ratio": 1.05} for c in CASES}  # fmt: skip
    return [*found, part("work", "times", 0, {"cases": times}), part("work", "memory", 0, {"cases": memory})]


def test_a_gain_is_paired_over_the_draws_that_both_have():
    table = figures.paired(records_by_hand())
    rows = table.set_index(["encoder", "use"])
    assert rows.loc[("distilled", "map"), "gain"] == pytest.approx(0.02, abs=1e-4)
    assert rows.loc[("distilled", "map"), "low"] > 0.019  # the users' noise cancels
    gained = rows["trained"] - rows["frozen"]
    assert gained["distilled", "map"] == pytest.approx(0.02, abs=1e-4)
    assert rows["draws"].to_dict()["distilled", "map"] == 3 and rows["draws"].to_dict()["lucky", "map"] == 1
    assert len(table) == 6 and set(table["Holm p"]) == {"< 0.001"}


def test_the_choice_follows_draws_and_validation_and_no_test_value():
    records = records_by_hand()
    assert figures.chosen(records) == "distilled"
    for record in records:
        if record["parameters"]["name"] == "lucky":
            record["metrics"]["ndcg"] = {"map": 0.9}
    assert figures.chosen(records) == "distilled"


def test_titles_and_takeaways_follow_the_record():
    records = records_by_hand()
    assert figures.best_use(records, "distilled") == "kernel map"
    assert figures.cold_title(records).startswith("Cold films: 0.35")
    assert figures.cold_title(records).endswith("training gains on 3 of 3 draws")
    assert figures.verdict(records).test.difference == pytest.approx(0.02, abs=1e-4)
    text = figures.bullets(records, {"a": [1.0, 0.5], "b": [2.0, 1.9]})
    assert "2 gradient steps lower the loss" in text and "Training gains on 3 of 3 draws" in text
    assert "over draws" in text and "not shown to differ" not in text
    assert "changes its NDCG by +" in text
    assert "the backward pass takes 60%" in text and "within 5% of the measured peak in 2 cases" in text
    assert "by the map 0.15" in text and "(difference +0.03" in text
    for record in records:
        if record["parameters"]["name"] == "distilled" and record["parameters"]["task"] == "cold":
            users = np.array(record["metrics"]["users"])
            seed = record["parameters"]["seed"]
            record["metrics"] |= ranked({"alone": 0.2, "map": 0.2, "kernel map": 0.2}, users, seed)
    assert "training gains on 0 of 3 draws" in figures.cold_title(records)
    assert "do not lower" in figures.bullets(records, {"a": [1.0, 1.5]})


def test_figures_are_drawn_with_titles():
    records = records_by_hand()
    fig, axes = plots.figure(2, width=10)
    figures.cold(axes, records)
    assert (
        " ".join(axes[1].get_title(loc="left").split())
        == "Of 1 ways to train with several draws 1 gains over the same map on each"
    )
    fig, (ax,) = plots.figure()
    curve = figures.few(ax, records)
    inside = [f"EASE with {name} text inside" for name in ("frozen", "distilled")]
    assert list(curve.columns) == ["EASE", "map, frozen", "map, distilled", *inside]
    fig, axes = plots.figure(2, width=10)
    figures.work(axes, records)
    assert title_of(axes[1]) == "The estimate is within 5% of the measured peak"
    assert figures.cost(records) == {"steps": 8.0, "trained weights": 7.0, "core seconds": 62.0}
    assert figures.headline(records)["trained, map"] > figures.headline(records)["frozen, map"]
    assert len(fig.axes) == 2


def test_a_gain_that_changes_its_sign_between_draws_is_not_shown():
    records = records_by_hand()
    for record in records:
        if record["parameters"]["part"] == "cold, distilled, 2":
            users = np.array(record["metrics"]["users"])
            record["metrics"] |= ranked({"alone": 0.30, "map": 0.34, "kernel map": 0.35}, users, 2, -0.03)
    found = figures.verdict(records)
    by_draw = [c.difference for c in found.by_draw]
    assert [round(v, 2) for v in by_draw] == [0.02, 0.02, -0.03]
    assert figures.cold_title(records).endswith("training gains on 2 of 3 draws, loses on 1")
    low, high = figures.draws_interval(by_draw)
    assert low < 0 < high
    assert "that a new draw would gain is not shown" in figures.takeaways(records)[0]
