"""Pictures: a known one gets its class, a user's bad ones are counted by reason, and any CLIP-like model
serves.
"""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from recsys_lib.core.errors import InputError
from recsys_lib.core.quiet import quiet
from recsys_lib.encoders import efficientnet, images, pictures

DAISY, BELL_COTE, MONASTERY, PALACE = 985, 442, 663, 698


@pytest.fixture
def samples(tmp_path):
    paths = []
    for name in ("flower.jpg", "china.jpg"):
        paths.append(tmp_path / f"{name}.png")
        Image.fromarray(load_sample_image(name)).save(paths[-1])
    return paths


def test_known_pictures_get_their_classes(own_cache, samples):
    """A flower, and an old building in China: scikit-learn's two sample photographs."""
    flower, temple = images.classify(samples, 5)
    assert flower[0] == DAISY
    assert temple[0] == PALACE and {BELL_COTE, MONASTERY} & set(temple.tolist())


def test_the_same_picture_in_another_size_has_nearly_the_same_vector(own_cache, samples, tmp_path):
    encoder = images.load()
    small = tmp_path / "small.png"
    with Image.open(samples[0]) as picture:
        picture.resize((320, 214), Image.Resampling.LANCZOS).save(small)
    v = encoder.encode([samples[0], small, samples[1]], progress=False).vectors
    unit = v / np.linalg.norm(v, axis=1, keepdims=True)
    assert v.shape == (3, encoder.dimension) == (3, 1280)
    assert unit[0] @ unit[1] > 0.8 > 0.6 > unit[0] @ unit[2]


def test_folded_convolutions_equal_convolution_and_batch_norm():
    torch.manual_seed(0)
    conv, norm = torch.nn.Conv2d(4, 6, 3, 2, padding=1, bias=False), torch.nn.BatchNorm2d(6, eps=1e-3).eval()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    norm.weight.data.normal_()
    norm.bias.data.normal_()
    named = {"c.weight": conv.weight.detach()} | {f"n.{k}": v for k, v in norm.state_dict().items()}
    folded = efficientnet._folded(named, "c", "n", stride=2, clipped=False)
    x = torch.randn(2, 4, 9, 9)  # odd: "same" pads one on every side, as padding=1 does
    with torch.inference_mode():
        torch.testing.assert_close(folded(x), norm(conv(x)), atol=1e-5, rtol=1e-5)


def test_a_file_without_a_tensor_is_refused():
    with pytest.raises(InputError, match="lacks the tensor"):
        efficientnet.EfficientNetLite0({})


# ---------------------------------------------------------------- a user's files


def _bomb(path):
    """A PNG that says of itself that it has 400 million pixels."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1000)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def _cut(path):
    colours = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(colours).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:900])


def _frames(path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])


BAD = {
    "nothing.jpg": ("missing", lambda p: None),
    "folder.jpg": ("missing", lambda p: p.mkdir()),
    "text.jpg": ("broken", lambda p: p.write_text("no picture")),
    "empty.png": ("broken", lambda p: p.write_bytes(b"")),
    "bomb.png": ("huge", _bomb),
    "print.jpg": ("CMYK", lambda p: Image.new("CMYK", (8, 8)).save(p)),
    "moving.gif": ("animated", _frames),
    "cut.jpg": ("truncated", _cut),
    "height.tiff": ("unusual colours", lambda p: Image.fromarray(np.ones((4, 4), np.float32)).save(p)),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_pictures_are_refused_by_their_reason(name, tmp_path):
    reason, make = BAD[name]
    make(tmp_path / name)
    with pytest.raises(pictures.Unusable) as caught:
        pictures.read(tmp_path / name)
    assert caught.value.reason == reason


@pytest.mark.parametrize("path", ["", "  ", "nul\0byte", "x" * 5000])
def test_paths_that_no_file_has_are_missing_pictures(path):
    with pytest.raises(pictures.Unusable, match="missing"):
        pictures.read(path)


def test_a_file_of_too_many_bytes_is_not_opened(tmp_path, monkeypatch):
    path = tmp_path / "large.png"
    Image.new("RGB", (8, 8)).save(path)
    monkeypatch.setattr(pictures, "MAX_BYTES", 10)
    with pytest.raises(pictures.Unusable, match="huge"):
        pictures.read(path)


def test_bad_pictures_are_counted_and_the_others_encoded(own_cache, samples, tmp_path):
    for name, (_, make) in BAD.items():
        make(tmp_path / name)
    paths = [*(tmp_path / name for name in BAD), *samples, "", samples[0]]
    encoder = images.load()
    for _ in range(2):  # the second time from the cache
        found = encoder.encode(paths, progress=False)
        assert found.present.tolist() == [False] * len(BAD) + [True, True, False, True]
        counts = {reason: len(rows) for reason, rows in found.skipped.rows.items()}
        thrice = {"missing": 3, "broken": 2}
        assert counts == thrice | dict.fromkeys(pictures.REASONS[2:], 1)
        assert found.note.startswith(f"10 of {len(paths)} pictures were left out: 3 missing (first in row 0)")
        np.testing.assert_array_equal(found.vectors[len(BAD)], found.vectors[-1])
    assert not encoder.encode([], progress=False).note


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_usual_colours_are_read(mode, tmp_path):
    path = tmp_path / "picture.png"
    if mode == "I;16":
        Image.fromarray(np.full((4, 4), 65535, np.uint16)).save(path)
    else:
        Image.new(mode, (4, 4), 255 if mode in ("L", "1", "P") else "white").save(path)
    picture = pictures.read(path)
    assert picture.mode == "RGB" and picture.size == (4, 4)
    if mode in ("1", "L", "RGB", "I;16"):
        assert picture.getpixel((0, 0)) == (255, 255, 255)


def test_transparent_parts_are_white_and_turned_pictures_upright(tmp_path):
    clear = tmp_path / "clear.png"
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(clear)
    assert pictures.read(clear).getpixel((0, 0)) == (255, 255, 255)
    turned, exif = tmp_path / "turned.jpg", Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (10, 4)).save(turned, exif=exif)
    assert pictures.read(turned).size == (4, 10)


def test_one_path_instead_of_a_list_is_refused(own_cache):
    with pytest.raises(InputError, match="expected a list of paths"):
        images.load().encode("a.png")


# ---------------------------------------------------------------- CLIP-like models


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A random CLIP of one layer as a local folder."""
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    folder = tmp_path_factory.mktemp("clip")
    part = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = part | {"image_size": 32, "patch_size": 16}
    torch.manual_seed(0)
    with quiet():
        config = CLIPConfig(text_config=part | {"vocab_size": 50}, vision_config=vision, projection_dim=12)
        CLIPModel(config).save_pretrained(folder)
        size = {"height": 32, "width": 32}
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=size).save_pretrained(folder)
    return folder


def test_a_clip_folder_gives_what_transformers_gives(clip, own_cache, samples):
    from transformers import AutoImageProcessor, CLIPModel

    found = images.load(str(clip)).encode(samples, progress=False).vectors
    with quiet(), torch.inference_mode():
        processor, model = AutoImageProcessor.from_pretrained(clip), CLIPModel.from_pretrained(clip).eval()
        batch = [Image.open(path).convert("RGB") for path in samples]
        plain = model.get_image_features(**processor(images=batch, return_tensors="pt")).pooler_output
    np.testing.assert_allclose(found, plain.numpy(), atol=1e-5)
    assert found.shape == (2, 12) and not np.allclose(found[0], found[1], atol=1e-3)


def test_models_without_pictures_and_unknown_names_are_refused(tiny, own_cache, tmp_path):
    for name in (tiny["bert"], "no-such-model", str(tmp_path)):
        with pytest.raises(InputError) as caught:
            images.load(name)
        assert "\n" not in str(caught.value)
