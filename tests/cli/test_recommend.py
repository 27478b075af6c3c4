"""``recommend``: from files to a report, and one line with status 2 for a mistake."""

import numpy as np
import pytest

from recsys_lib.cli.app import main
from recsys_lib.data import datasets


@pytest.fixture
def shop(tmp_path):
    return datasets.write_sample(tmp_path, 80, 60, seed=1, sales=12)


@pytest.mark.slow
def test_two_files_and_vectors_get_a_report(shop, tmp_path, capsys):
    np.save(tmp_path / "mine.npy", np.random.default_rng(0).standard_normal((60, 8)))
    files = ["--interactions", str(shop[0]), "--items", str(shop[1]), "--vectors", str(tmp_path / "mine.npy")]
    options = [
        "--requests-per-s",
        "50",
        "--encoder",
        "",
        "--output",
        str(tmp_path / "out"),
        "-p",
        "trials",
        "1",
    ]
    assert main(["recommend", *files, *options]) == 0
    out = capsys.readouterr().out
    assert "worth it here?" in out and "50 lists a second" in out and "What would change it:" in out
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert page.index("In dollars") < page.index("What this is") < page.index("How to bring your data")
    assert "own vectors (mine.npy)" in page and "find_answer" not in page  # outputs, no code
    assert "<script" not in page and "prefers-color-scheme" in page


@pytest.mark.slow
def test_a_mistake_in_a_file_is_one_line(shop, tmp_path, capsys):
    shop[1].write_text("sku,titel\nSKU-0001,x\n")
    files = ["--interactions", str(shop[0]), "--items", str(shop[1]), "--output", str(tmp_path / "out")]
    assert main(["recommend", *files]) == 2
    error = capsys.readouterr().err
    assert (
        error.startswith("recsys_lib recommend: items.csv: no column for 'title'") and error.count("\n") == 1
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--requests-per-s", "0"], "requests_per_s=0.0: expected a finite number above 0"),
        (["--latency-ms", "nan"], "latency_ms=nan: expected a finite number above 0"),
        (["--new-items-per-day", "-1"], "new_items_per_day=-1.0: expected a finite number of at least 0"),
        (["--requests-per-s", "many"], "--requests-per-s"),
        (["--interactions", "nowhere.csv"], "--interactions nowhere.csv: no such file"),
        (["--encoder", "e5", "-p", "encoder", "minilm"], "parameter 'encoder' is given twice"),
        (["-p", "trails", "3"], "has no parameter 'trails': did you mean 'trials'"),
    ],
)
def test_mistakes_are_refused_before_any_work(arguments, message, tmp_path, capsys):
    assert main(["recommend", *arguments, "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out" / "report.html").exists()
