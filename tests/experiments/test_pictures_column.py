"""A column of pictures in a user's items file becomes vectors; what is wrong with it is said, nothing
breaks.
"""

import numpy as np
import pytest
from PIL import Image

from recsys_lib.experiments.own_catalogue import pictures_column, reading, sources

COLOURS = ("red", "orange", "green", "blue")


def catalogue(folder, images):
    """Four items with these paths, each bought by five people."""
    lines = [f"{i},Item {i},{image}" for i, image in enumerate(images)]
    (folder / "items.csv").write_text("id,title,image\n" + "\n".join(lines) + "\n")
    sold = [f"u{u},{i}" for u in range(5) for i in range(len(images))]
    (folder / "sales.csv").write_text("user,item\n" + "\n".join(sold) + "\n")
    return reading.read(folder / "sales.csv", folder / "items.csv", folder)


@pytest.fixture
def pictures(tmp_path):
    for colour in COLOURS:
        Image.new("RGB", (40, 40), colour).save(tmp_path / f"{colour}.png")
    return tmp_path


def test_pictures_take_part_as_vectors_of_their_own(pictures, own_cache):
    found = catalogue(pictures, [f"{c}.png" for c in COLOURS[:3]] + [str(pictures / "blue.png")])
    vectors = found.vectors[pictures_column.NAME]
    assert vectors.shape == (4, 1280) and vectors.any(axis=1).all() and not found.notes
    offered = sources.encode_sources(found.data, ["title"], own=found.vectors)
    assert offered[pictures_column.NAME].kind == sources.LANGUAGE
    np.testing.assert_array_equal(offered[pictures_column.NAME].vectors, vectors)


CASES = {
    "one missing": (
        ["red.png", "gone.png", "blue.png", ""],
        [0, 2],
        "2 of 4 pictures were left out: 2 missing",
    ),
    "one broken": (["red.png", "sales.csv", "blue.png", "green.png"], [0, 2, 3], "1 broken (first in row 1)"),
    "a folder": (["red.png", ".", "blue.png", "green.png"], [0, 2, 3], "1 missing (first in row 1)"),
    "only addresses": (["https://a.example/1.jpg"] * 4, [], "names no file on this machine"),
    "only blanks": (["", " ", "", ""], [], "names no file on this machine"),
    "no picture among the files": (["sales.csv"] * 4, [], "4 of 4 pictures were left out: 4 broken"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_columns_are_answered_in_a_sentence(case, pictures, own_cache):
    images, present, note = CASES[case]
    found = catalogue(pictures, images)
    assert any(note in said for said in found.notes), found.notes
    if not present:
        assert not found.vectors
    else:
        rows = found.vectors[pictures_column.NAME].any(axis=1)
        assert np.flatnonzero(rows).tolist() == present
