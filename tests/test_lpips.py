"""LPIPS against its formula written out pixel by pixel, and ArtFID."""

from pathlib import Path

import numpy as np
import pytest
import torch
from vgg import narrow_vgg

from photostyle.errors import PhotostyleError
from photostyle.feedforward.lpips import LAYERS, art_fid, lpips, read_linear
from photostyle.losses.encoders import Encoder


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(2)
    return torch.rand(2, 3, 32, 32, generator=random), torch.rand(2, 3, 32, 32, generator=random)


def test_it_is_the_formula() -> None:
    encoder = Encoder(narrow_vgg("vgg16"), "vgg16", layers=tuple(LAYERS))
    linear = {layer: torch.arange(1.0, 5.0) / n for n, layer in enumerate(LAYERS, 1)}
    first, second = pair()
    for number, found in enumerate(lpips(encoder, linear, first, second).tolist()):
        expected = 0.0
        ours, theirs = encoder(first[number]), encoder(second[number])
        for layer, weights in linear.items():
            a, b = (each[layer].reshape(4, -1).double().numpy() for each in (ours, theirs))
            pixels = [
                (
                    weights.numpy() * (u / (np.linalg.norm(u) + 1e-10) - v / (np.linalg.norm(v) + 1e-10)) ** 2
                ).sum()
                for u, v in zip(a.T, b.T, strict=True)
            ]
            expected += float(np.mean(pixels))
        assert found == pytest.approx(expected, rel=1e-4)


def test_equal_pictures_are_at_no_distance() -> None:
    encoder = Encoder(narrow_vgg("vgg16"), "vgg16", layers=tuple(LAYERS))
    first, _ = pair()
    assert lpips(encoder, {layer: torch.ones(4) for layer in LAYERS}, first, first).tolist() == [0, 0]


def test_its_weights_are_read_from_the_authors_file(tmp_path: Path) -> None:
    state = {key: torch.rand(1, 4, 1, 1) for key in LAYERS.values()}
    torch.save(state, tmp_path / "vgg.pth")
    assert torch.equal(read_linear(tmp_path / "vgg.pth")["relu1_2"], state["lin0.model.1.weight"].flatten())
    torch.save({"lin0.model.1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(PhotostyleError, match="lin1"):
        read_linear(tmp_path / "other.pth")


def test_art_fid_is_the_product_of_its_authors_not_the_documents_plain_fid() -> None:
    assert art_fid(0.5, 20.0) == 1.5 * 21.0
    assert art_fid(0.0, 0.0) == 1.0
