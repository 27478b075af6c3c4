"""An artefact comes back as it was written, is whole or refused, and is swapped in one step."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from shop_server import shop, store_in

from recsys_lib.core.errors import InputError
from recsys_lib.recommenders import EASE, EASEMap
from recsys_lib.serving import artefact, fitting
from recsys_lib.serving.cold_map import ColdMap


@pytest.fixture(scope="module")
def fitted():
    return fitting.from_dataset(shop(), "tfidf", ease_regularization=20.0)


@pytest.fixture
def store(fitted, tmp_path):
    artefact.put_in_place(tmp_path, artefact.write(fitted, tmp_path))
    return tmp_path


def folder_of(store):
    return store / artefact.VERSIONS / artefact.current(store)


def test_what_was_written_comes_back(fitted, store):
    loaded = artefact.load(store)
    np.testing.assert_array_equal(
        loaded.recommender.score(loaded.histories), fitted.recommender.score(fitted.histories)
    )
    assert (loaded.histories != fitted.histories).nnz == 0
    assert loaded.catalogue == loaded.catalogue and loaded.catalogue.titles == fitted.catalogue.titles
    assert loaded.catalogue.labels[4] == ("tools",)
    assert isinstance(loaded.vectors, np.memmap) and isinstance(loaded.raw, np.memmap)
    texts = ["green oak table 8", "new wool"]
    np.testing.assert_array_equal(loaded.encoder.encode(texts), fitted.encoder.encode(texts))
    assert loaded.settings == fitted.settings and loaded.version == artefact.current(store)


def test_every_damaged_file_is_named_in_one_line(store):
    folder = folder_of(store)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    assert len(files) >= 10
    for path in files:
        content = path.read_bytes()
        for damaged in (content[:-1] + bytes([content[-1] ^ 1]), content[: len(content) // 2]):
            path.write_bytes(damaged)
            with pytest.raises(InputError) as caught:
                artefact.load(store)
            assert path.name in str(caught.value) and "\n" not in str(caught.value), path
        path.unlink()
        with pytest.raises(InputError, match=path.name):
            artefact.load(store)
        path.write_bytes(content)
    artefact.load(store)


def test_a_changed_number_in_the_manifest_is_noticed(store):
    path = folder_of(store) / artefact.MANIFEST
    content = json.loads(path.read_text())
    for change in ({"watermark": 7}, {"settings": {}}, {"sha256": {}}):
        path.write_text(json.dumps(content | change))
        with pytest.raises(InputError, match="checksum"):
            artefact.load(store)


@pytest.mark.parametrize("version", [0, 2, None, "1"])
def test_another_format_is_refused(store, version):
    path = folder_of(store) / artefact.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": version}))
    with pytest.raises(InputError, match=r"artefact of format .*, expected 1; fit again"):
        artefact.load(store)


@pytest.mark.parametrize("text", ["", "../..", "x/y", ".hidden", "nowhere", "\x00"])
def test_a_damaged_pointer_is_refused(store, text):
    (store / artefact.CURRENT).write_text(text)
    with pytest.raises(InputError) as caught:
        artefact.load(store)
    assert "\n" not in str(caught.value)


def test_no_artefact_names_the_command(tmp_path):
    with pytest.raises(InputError, match="python -m recsys_lib serve"):
        artefact.load(tmp_path / "nowhere")


def test_old_versions_go_and_leftovers_of_a_kill_too(fitted, store):
    left = store / artefact.VERSIONS / ".killed.part"
    left.mkdir()
    (left / "half").write_text("x")
    for _ in range(artefact.KEPT + 3):
        artefact.put_in_place(store, artefact.write(fitted, store))
    versions = sorted(path.name for path in (store / artefact.VERSIONS).iterdir())
    assert not left.exists() and len(versions) == artefact.KEPT + 1
    assert artefact.current(store) == versions[-1]


def test_a_version_that_is_not_there_is_not_put_in_place(store):
    before = artefact.current(store)
    with pytest.raises(InputError, match="no artefact"):
        artefact.put_in_place(store, "20200101T000000-nothing")
    assert artefact.current(store) == before


def test_a_memory_mapped_version_outlives_its_files(store):
    loaded = artefact.load(store)
    before = np.array(loaded.vectors)
    shutil.rmtree(store / artefact.VERSIONS)
    np.testing.assert_array_equal(np.asarray(loaded.vectors), before)


def test_the_folder_must_be_writable(fitted, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="file"):
        artefact.write(fitted, tmp_path / "file")


def test_one_refit_at_a_time(store):
    with (
        artefact.refitting(store),
        pytest.raises(InputError, match="another refit"),
        artefact.refitting(store),
    ):
        pass


# ---------------------------------------------------------------- fitting


def test_items_are_placed_as_the_map_of_the_library_places_them(fitted):
    train = fitted.histories
    columns = EASE(20.0).fit(train).weights
    whole = EASEMap(fitted.vectors, 3.0, 20.0, columns=columns).fit(train)
    placed = fitted.cold_map.place(fitted.vectors)
    np.testing.assert_allclose(placed, whole.weights, atol=1e-6)
    cold = fitted.counts == 0
    assert cold.sum() == 6
    np.testing.assert_allclose(fitted.recommender.weights[:, cold], placed[:, cold], atol=1e-6)
    np.testing.assert_array_equal(fitted.recommender.weights[:, ~cold], columns[:, ~cold])


def test_a_new_item_goes_to_the_users_of_its_group(fitted):
    raw = fitted.encoder.encode(["steel garden spade of a new kind"])
    column = fitted.cold_map.place(fitted.geometry.apply(raw))
    scores = (fitted.histories @ column).ravel()
    tastes = np.array([int(name[1:]) % 3 for name in fitted.interactions.user_ids])
    assert np.median(scores[tastes == 1]) > 1.3 * np.median(scores[tastes != 1])


def test_the_map_refuses_other_shapes(fitted):
    with pytest.raises(InputError, match="expected"):
        ColdMap.fit(np.ones((3, 2)), np.ones((2, 2)), np.arange(2))
    with pytest.raises(InputError, match="as in the fit"):
        fitted.cold_map.place(np.ones((1, 2)))


def test_users_and_interactions_are_those_of_the_data_set():
    data = shop()
    rows = np.flatnonzero(data.timestamp < np.median(data.timestamp))
    found = fitting.interactions_of(data, rows)
    assert (np.diff(found.time) >= 0).all() and len(found.user) == len(rows)
    pairs = {(found.user_ids[u], f"i{i}") for u, i in zip(found.user, found.item, strict=True)}
    assert pairs == {(f"u{u}", f"i{i}") for u, i in zip(data.user[rows], data.item[rows], strict=True)}


def test_fitting_refuses_nothing_and_unknown_settings(fitted):
    nothing = replace(
        fitted.interactions, user=np.empty(0, int), item=np.empty(0, int), time=np.empty(0, int)
    )
    with pytest.raises(InputError, match="no interaction"):
        fitting.fit(fitted.catalogue, nothing, fitted.encoder, fitted.raw)
    with pytest.raises(InputError, match="'lambda' is unknown"):
        fitting.fit(fitted.catalogue, fitted.interactions, fitted.encoder, fitted.raw, {"lambda": 1})


def test_store_of_the_helper_is_loadable(tmp_path):
    assert artefact.load(store_in(tmp_path)).n_items == 60
