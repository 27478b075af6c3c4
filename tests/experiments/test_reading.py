"""Every option that a message names can be given to notebook 90, and a mistake in one gets one line."""

import dataclasses

import pytest
from toys import small

from recsys_lib.core.errors import InputError
from recsys_lib.experiments.own_catalogue import compare_methods, data_check
from recsys_lib.experiments.own_catalogue import reading as own_reading


@pytest.fixture
def files(tmp_path):
    def write(events, items):
        paths = tmp_path / "events.csv", tmp_path / "items.csv"
        for path, text in zip(paths, (events, items), strict=True):
            path.write_bytes(text.encode() if isinstance(text, str) else text)
        return paths

    return write


def test_ids_match_as_the_note_says(files, tmp_path):
    paths = files("user,item\na,007\nb,8\n", "id,title\n7,x\n8,y\n")
    data = own_reading.read(*paths, tmp_path).data
    assert data.n_interactions == 1
    assert any("pass reading={'match_ids': 'zeros'}" in note for note in data.notes)
    assert own_reading.read(*paths, tmp_path, reading={"match_ids": "zeros"}).data.n_interactions == 2


def test_quotes_are_read_as_the_message_says(files, tmp_path):
    paths = files("user,item\na,1\nb,4\n", 'id,title\n1,"Broken\n2,x\n3,y\n4,"z\n5,w\n')
    with pytest.raises(
        InputError, match=r"reading=\{'quotes': 'off'\}.* or reading=\{'quotes': 'trust'\}"
    ) as caught:
        own_reading.read(*paths, tmp_path)
    assert "\n" not in str(caught.value)
    assert own_reading.read(*paths, tmp_path, reading={"quotes": "off"}).data.n_items == 5


def test_an_encoding_is_taken(files, tmp_path):
    paths = files("user,item\na,1\nb,2\n", "id,title\n1,Käse\n2,Öl\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"pass reading=\{'encoding': "):
        own_reading.read(*paths, tmp_path)
    data = own_reading.read(*paths, tmp_path, reading={"encoding": "latin-1"}).data
    assert data.items["title"].tolist() == ["Käse", "Öl"]


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        ({"encodign": "utf-8"}, "no option 'encodign'; did you mean 'encoding'"),
        ({"zzz": "x"}, "no option 'zzz'; expected names among separator, encoding, quotes, match_ids"),
        ({"quotes": 1}, "quotes=1, expected a text"),
        ({"quotes": "none"}, "quotes='none': expected one of"),
    ],
)
def test_a_wrong_option_is_refused(files, tmp_path, reading, message):
    paths = files("user,item\na,1\n", "id,title\n1,x\n")
    with pytest.raises(InputError, match=message):
        own_reading.read(*paths, tmp_path, reading=reading)


def test_texts_that_are_cut_are_counted():
    data = small([0, 0, 1], [0, 1, 1])
    data = dataclasses.replace(data, items=data.items.assign(title=["short", "word " * 600]))
    split = compare_methods.warm_splits(small([0] * 20, range(20)), False, 1)[0]
    checks = {c.what: c for c in data_check.check_data(data, split, ("title",), "minilm")}
    assert checks["texts cut"].found == "50.0% of the texts exceed the 256 tokens that minilm encodes"
    assert "not encoded" in checks["texts cut"].meaning
    plain = data_check.check_data(data, split, ("title",), "wordllama")
    assert not any(c.what == "texts cut" for c in plain)
