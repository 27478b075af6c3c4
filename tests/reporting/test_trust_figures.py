"""Tables and labels of explanations and privacy, from records that are known."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from recsys_lib.reporting.figures import explanations, privacy


def test_a_kind_of_reason_that_fails_is_named_with_its_model():
    tests = [
        {"model": "EASE", "method": "exact", "baseline": "random", "difference": -0.4, "Holm p": "< 0.001"},
        {"model": "EASE", "method": "exact", "baseline": "popular", "difference": -0.2, "Holm p": "0.004"},
        {"model": "EASE", "method": "alike", "baseline": "random", "difference": -0.1, "Holm p": "0.2"},
        {"model": "EASE", "method": "alike", "baseline": "popular", "difference": 0.3, "Holm p": "< 0.001"},
    ]
    rationale = {
        "names an item that is not in it": 0.05, "leaves without those named": 0.5,
        "leaves without as many at random": 0.25,
    }  # fmt: skip
    metrics = {"tests": tests, "rationale": rationale, "rationales": [{}] * 20}
    runs = [{"parameters": {"protocol": "ml-100k random", "n_users": 3}, "metrics": metrics}]
    table = explanations.separated(runs)
    assert (
        table.loc["ml-100k: exact", "beats random"]
        == table.loc["ml-100k: exact", "beats popular"]
        == "1 of 1"
    )
    assert table.loc["ml-100k: alike", "beats popular"] == "0 of 1"
    assert table.loc["ml-100k: alike", "fails on"] == "EASE (random); EASE (popular)"
    assert explanations.catalogues_sentence(runs) == (
        "**Recorded, 3 users of each catalogue.** ml-100k: alike fails on EASE (random); EASE (popular); "
        "of 20 rationales 5% name an item that is not in the history, and without what they name the item "
        "leaves in 50% (as many at random 25%)."
    )


def releases(**rows):
    columns = ["history recovered", "without the vector", "ndcg", "bytes", "epsilon"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def test_the_title_names_the_best_release_with_a_guarantee_and_labels_stand_apart():
    inf = float("inf")
    table = releases(
        **{
            "float32": [0.97, 0.27, 0.14, 1536, inf], "int8": [0.97, 0.27, 0.14, 388, inf],
            "1 bit": [0.68, 0.27, 0.12, 54, inf], "update": [0.99, 0.27, 0.34, 3076, inf],
            "sum of 20 updates": [0.28, 0.27, 0.34, 6e5, inf],
            "noisy sum, ε = 10": [0.27, 0.27, 0.25, 6e5, 10.0],
            "noise, ε = 10": [0.3, 0.27, 0.05, 1536, 10.0],
        }
    )  # fmt: skip
    title = privacy.pareto_title(table)
    assert "noisy sum, ε = 10 gives 27% at NDCG@10 0.250 (float32: 0.140)" in title and "map 99%" in title
    fig, ax = plt.subplots()
    privacy.pareto(ax, table, title)
    texts = {t.get_text(): t.get_position() for t in ax.texts}
    plt.close(fig)
    assert "float32, int8" in texts
    places = [place for name, place in texts.items() if name != "without the vector"]
    assert len({(round(x, 2), round(y, 3)) for x, y in places}) == len(places)
    assert "no defence" in privacy.pareto_title(table.loc[["float32", "int8", "1 bit"]])


def test_dollars_name_what_saves_and_what_it_leaves():
    inf = float("inf")
    table = releases(
        **{
            "float32": [0.97, 0.27, 0.14, 1536, inf], "int8": [0.97, 0.27, 0.14, 388, inf],
            "first 32 axes": [0.4, 0.27, 0.13, 128, inf], "noise, ε = 100": [0.3, 0.27, 0.04, 1536, 100.0],
            "update": [0.99, 0.27, 0.34, 3076, inf],
        }
    ).assign(usd=[2000.0, 1500.0, 500.0, 2000.0, 400.0])  # fmt: skip
    title = privacy.dollars_title(table)
    assert title == (
        "int8 saves 25% of float32's dollars and hides nothing; first 32 axes saves 75% and leaves 40%; "
        "noise saves nothing"
    )
    fig, ax = plt.subplots()
    privacy.dollars(ax, table, title)
    assert ax.get_xscale() == "log" and "first 32 axes" in [t.get_text() for t in ax.texts]
    plt.close(fig)


def test_strengths_stand_in_rising_order_with_no_noise_last():
    curve = pd.DataFrame(
        {"epsilon": [float("inf"), 1.0], "auc": [0.9, 0.5], "ndcg": [0.4, 0.2]}, index=["no noise", "ε = 1"]
    )
    fig, axes = plt.subplots(ncols=2)
    privacy.strengths(axes, {"EASE": curve, "unrecorded": curve[:0]})
    assert [t.get_text() for t in axes[0].get_xticklabels()] == ["1", "none"]
    assert axes[0].lines[0].get_ydata().tolist() == [0.5, 0.9]
    said = axes[1].get_title(loc="left") or axes[1].get_title()
    assert " ".join(said.split()) == "Its price: EASE 0.400 without noise, 0.200 at ε = 1"
    plt.close(fig)


@pytest.mark.parametrize(
    ("name", "kind"), [("noisy sum, ε = 3", "updates of a map"), ("first 8 axes", "truncated")]
)
def test_families(name, kind):
    assert privacy.family(name) == kind
