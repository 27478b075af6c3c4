"""``finetune``: files in, a saved encoder out; a killed run goes on; mistakes are one line with status 2."""

import pytest
from training_cases import TEXTS, interactions, tiny_bert

from recsys_lib import encoders
from recsys_lib.cli.app import main
from recsys_lib.experiments.training import variants

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Two CSV files and a tiny encoder: the arguments of the command without ``--out``."""
    folder = tmp_path_factory.mktemp("shop")
    rows, columns = interactions().nonzero()
    lines = [f"u{u},i{i}" for u, i in zip(rows, columns, strict=True)]
    (folder / "sales.csv").write_text("\n".join(["user,item", *lines]) + "\n")
    titles = [f"i{i},{text}" for i, text in enumerate(TEXTS)]
    (folder / "products.csv").write_text("\n".join(["id,title", *titles]) + "\n")
    encoder = tiny_bert(folder / "bert")
    files = ["--interactions", str(folder / "sales.csv"), "--items", str(folder / "products.csv")]
    return ["finetune", *files, "--encoder", encoder, "--epochs", "2", "--block", "12"]


@pytest.mark.parametrize("loss", ["distilled", "contrastive", "both"])
def test_files_in_a_trained_encoder_out(shop, tmp_path, capsys, loss):
    out = tmp_path / "encoder"
    assert main([*shop, "--out", str(out), "--loss", loss, "--rate", "0.003"]) == 0
    text = capsys.readouterr().out
    assert "before training" in text and str(out) in text
    assert encoders.load(str(out), cache=False).encode(["red house"]).shape == (1, 32)
    assert not list(tmp_path.glob(".*"))


def test_an_interrupted_run_goes_on_where_it_was(shop, tmp_path, capsys, monkeypatch):
    out, asked = tmp_path / "encoder", []
    plain = variants.validation_value

    def counted(task, k=10):
        value = plain(task, k)

        def one(vectors):
            asked.append(len(asked))
            if len(asked) == 2:
                raise KeyboardInterrupt
            return value(vectors)

        return one

    monkeypatch.setattr(variants, "validation_value", counted)
    assert main([*shop, "--out", str(out)]) == 130
    assert not out.exists() and (tmp_path / ".encoder.state" / "meta.json").is_file()
    assert main([*shop, "--out", str(out)]) == 0
    assert asked == [0, 1, 2, 3]  # the first validation is not made again
    assert (out / "modules.json").is_file() and not (tmp_path / ".encoder.state").exists()
    capsys.readouterr()


def test_mistakes_are_one_line(shop, tmp_path, capsys):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    missing = [*shop[:2], str(tmp_path / "none.csv"), *shop[3:]]
    out = ["--out", str(tmp_path / "encoder")]
    for arguments, message in (
        ([*missing, *out], "none.csv: no such file"),
        ([*shop, "--out", str(tmp_path / "notes")], "holds other files"),
        ([*shop, *out, "--loss", "contrastiv"], "did you mean 'contrastive'?"),
        ([*shop, *out, "--train", "last 9"], "at most 2 layers"),
        ([*shop, *out, "--rate", "7"], "--rate 7.0: expected more than 0"),
        ([*shop, *out, "--epochs", "0"], "'0': expected a whole number of at least 1"),
        ([*shop, *out, "--encoder", "tfidf"], "has no layers to train"),
        (shop, "argument --out is missing"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert not (tmp_path / "encoder").exists()
