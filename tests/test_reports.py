"""What people are shown: the right pictures in the right places, and text that lines up."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from photostyle.errors import PhotostyleError
from photostyle.evaluation import reports as report
from photostyle.evaluation.scores import Scores
from photostyle.files.masks import MaskSet
from photostyle.regions.guidance import Guidance, Pair


def flat(colour: tuple[float, float, float], height: int = 30, width: int = 40) -> Tensor:
    return torch.tensor(colour)[:, None, None].expand(3, height, width).clone()


RED, GREEN, BLUE = flat((1, 0, 0)), flat((0, 1, 0)), flat((0, 0, 1))


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


# Contact sheets


def test_a_sheet_shows_every_picture_in_its_row_and_column(tmp_path):
    path = tmp_path / "sheet.png"
    report.contact_sheet([[("a", RED), ("b", GREEN)], [("c", BLUE)]], path, cell=80)
    sheet = pixels(path)
    places = {}
    for name, colour in (("red", (255, 0, 0)), ("green", (0, 255, 0)), ("blue", (0, 0, 255))):
        rows, columns = np.nonzero((sheet == colour).all(-1))
        # 40x30 scaled to a cell of 80: every pixel of it, nowhere cut.
        assert (np.ptp(rows) + 1, np.ptp(columns) + 1, len(rows)) == (60, 80, 60 * 80)
        places[name] = rows.min(), columns.min()
    assert places["red"][0] == places["green"][0] < places["blue"][0]
    assert places["red"][1] == places["blue"][1] < places["green"][1]


def test_each_picture_has_its_caption_above(tmp_path):
    report.contact_sheet([[("content λ × 1e4 →", RED), ("", RED)]], tmp_path / "sheet.png", cell=200)
    sheet = pixels(tmp_path / "sheet.png")
    top, left = (each.min() for each in np.nonzero((sheet == (255, 0, 0)).all(-1)))
    above = sheet[:top]
    assert (above[:, left : left + 200] < 100).any()  # ink over the first picture
    assert (above[:, left + 212 :] == 255).all()  # an empty caption leaves paper


def test_a_long_caption_takes_more_lines_and_stays_in_its_cell(tmp_path):
    words = "a caption that is much longer than its cell is wide " * 3
    report.contact_sheet([[("short", RED)]], tmp_path / "short.png", cell=120)
    report.contact_sheet([[(words, RED), ("", GREEN)]], tmp_path / "long.png", cell=120)
    short, long = pixels(tmp_path / "short.png"), pixels(tmp_path / "long.png")
    assert len(long) > len(short)
    gap = long[:, -(120 + report.GAP) :]
    assert (gap[(gap != 255).any(-1)] == (0, 255, 0)).all()  # no ink in the second column


def test_pictures_of_a_row_begin_at_one_height_whatever_their_captions(tmp_path):
    report.contact_sheet(
        [[("a caption of two lines", RED), ("short", GREEN)]], tmp_path / "sheet.png", cell=120
    )
    sheet = pixels(tmp_path / "sheet.png")
    tops = [np.nonzero((sheet == colour).all(-1))[0].min() for colour in ((255, 0, 0), (0, 255, 0))]
    assert tops[0] == tops[1]


def test_arrays_and_tensors_show_alike(tmp_path):
    tensor = torch.rand(3, 20, 40, generator=torch.Generator().manual_seed(0))
    array = tensor.permute(1, 2, 0).numpy()
    for name, picture in (("t", tensor), ("f", array), ("u", np.rint(array * 255).astype(np.uint8))):
        report.contact_sheet([[("", picture)]], tmp_path / f"{name}.png", cell=40)
    assert len({(tmp_path / f"{name}.png").read_bytes() for name in "tfu"}) == 1


def test_the_suffix_decides_the_format(tmp_path):
    for suffix, kind in ((".png", "PNG"), (".jpg", "JPEG")):
        report.contact_sheet([[("", RED)]], tmp_path / f"sheet{suffix}")
        with Image.open(tmp_path / f"sheet{suffix}") as image:
            assert image.format == kind
            assert image.width == report.CELL + 2 * report.GAP


@pytest.mark.parametrize("rows", [[], [[]]])
def test_a_sheet_of_nothing_is_refused(rows, tmp_path):
    with pytest.raises(PhotostyleError, match=r"sheet\.png: no pictures"):
        report.contact_sheet(rows, tmp_path / "sheet.png")
    assert not list(tmp_path.iterdir())


# Loss curves


def entries(stage: int, count: int, **terms: float) -> list[dict]:
    return [
        {"stage": stage, "iteration": k, "seconds": k / 10, **{n: v / k for n, v in terms.items()}}
        for k in range(1, count + 1)
    ]


@pytest.fixture
def drawn(monkeypatch):
    """The figure that plot_losses draws, caught on its way to the file."""
    figures = []
    monkeypatch.setattr(report, "write_figure", lambda figure, path: figures.append(figure))
    return figures


def test_every_term_and_the_total_are_drawn_against_the_evaluation(tmp_path, drawn):
    trace = entries(0, 5, style=2.0) + entries(1, 4, style=1.0, photorealism=3.0)
    report.plot_losses(trace, tmp_path / "losses.png")
    axes = drawn[0].axes[0]
    curves = {line.get_label(): line.get_data() for line in axes.get_lines()}
    assert {"style", "photorealism", "total"} <= set(curves)
    evaluation, style = curves["style"]
    np.testing.assert_array_equal(evaluation, range(1, 10))
    np.testing.assert_allclose(style, [2, 1, 2 / 3, 0.5, 0.4, 1, 0.5, 1 / 3, 0.25])
    np.testing.assert_allclose(curves["photorealism"][1], [math.nan] * 5 + [3, 1.5, 1, 0.75])
    np.testing.assert_allclose(curves["total"][1], [2, 1, 2 / 3, 0.5, 0.4, 4, 2, 4 / 3, 1])
    assert axes.get_yscale() == "log"


def test_the_stages_are_marked_where_they_begin(tmp_path, drawn):
    report.plot_losses(entries(0, 5, style=2.0) + entries(1, 4, style=1.0), tmp_path / "losses.png")
    axes = drawn[0].axes[0]
    assert [text.get_text() for text in axes.texts] == ["stage 1", "stage 2"]
    assert [text.xy[0] for text in axes.texts] == [1, 6]
    borders = [line.get_xdata()[0] for line in axes.get_lines() if line.get_linestyle() == "--"]
    assert borders == [5.5]


@pytest.mark.parametrize("count", [1, 3])
def test_a_term_without_weight_is_named_as_zero(count, tmp_path, drawn):
    report.plot_losses(entries(0, count, style=1.0, variation=0.0), tmp_path / "losses.png")
    labels = [text.get_text() for text in drawn[0].axes[0].get_legend().get_texts()]
    assert labels == ["style", "variation (0)", "total"]


def test_a_plot_is_a_png_with_the_same_bytes_each_time(tmp_path):
    trace = entries(0, 5, style=2.0)
    for name in ("a.png", "b.png"):
        report.plot_losses(trace, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert pixels(tmp_path / "a.png").shape == (5 * report.DPI, 9 * report.DPI, 3)
    with Image.open(tmp_path / "a.png") as image:
        assert "Software" not in image.info  # the plotting library's version would change the bytes


def test_a_trace_of_zeros_only_still_plots(tmp_path):
    report.plot_losses(entries(0, 3, style=0.0), tmp_path / "losses.png")
    assert (tmp_path / "losses.png").exists()


def test_a_run_without_evaluations_has_nothing_to_plot(tmp_path):
    with pytest.raises(PhotostyleError, match=r"losses\.png: nothing was optimised"):
        report.plot_losses([], tmp_path / "losses.png")


# Overlays


def halves(height: int = 40, width: int = 60) -> Tensor:
    masks = torch.zeros(2, height, width)
    masks[0, :, : width // 2] = 1
    masks[1, :, width // 2 :] = 1
    return masks


def test_a_region_is_veiled_half_by_its_colour():
    veiled = report.overlay(flat((0.2, 0.4, 0.6), 40, 60), halves(), [(255, 0, 0), (0, 0, 0)])
    torch.testing.assert_close(veiled[:, 20, 10], torch.tensor([0.6, 0.2, 0.3]))
    torch.testing.assert_close(veiled[:, 20, 50], torch.tensor([0.1, 0.2, 0.3]))


@pytest.mark.parametrize("colours", [[(0, 0, 0), (0, 0, 0)], [(255, 255, 255), (255, 255, 255)]])
@pytest.mark.parametrize("grey", [0.0, 1.0])
def test_a_border_shows_between_any_colours_on_any_photo(colours, grey):
    veiled = report.overlay(flat((grey,) * 3, 40, 600), halves(40, 600), colours)
    across = veiled[0, 20, 290:310]
    assert across.max() == 1 and across.min() == 0
    assert (veiled[0, 20, :290] == veiled[0, 20, 0]).all()  # and only there


def test_what_is_in_no_region_keeps_the_photo_and_has_a_border():
    photo = flat((0.2, 0.4, 0.6), 40, 60)
    masks = halves()[:1]
    veiled = report.overlay(photo, masks, [(255, 0, 0)])
    torch.testing.assert_close(veiled[:, :, 40:], photo[:, :, 40:])
    assert (veiled[:, :, 28:32] == 1).any()


def test_a_soft_mask_veils_by_its_value():
    veiled = report.overlay(flat((0.0, 0.0, 0.0)), torch.full((1, 30, 40), 0.6), [(255, 255, 255)])
    torch.testing.assert_close(veiled, torch.full((3, 30, 40), 0.3))


# Tables


def pair(name: str, partner: str, reason: str, share: float = 0.5) -> Pair:
    return Pair(name, (255, 0, 16), partner, share, 0.125, name != partner, reason)


def test_the_region_table_says_what_each_region_takes_its_style_from():
    pairs = (pair("sky", "sky", "same label"), pair("boat", "sea", "not in the style's mask", 0.005))
    masks = torch.ones(2, 4, 4)
    guidance = Guidance(masks, (masks,), torch.ones(1, 2), ("sky", "boat"), ((255, 0, 16),) * 2, pairs, ())
    assert report.region_table(guidance).splitlines() == [
        "colour   region  content  style  pairs with  remark",
        "#ff0010  sky       50.0%  12.5%  sky         same label",
        "#ff0010  boat       0.5%  12.5%  sea         not in the style's mask",
    ]


def test_the_score_table_lines_up_and_says_which_way_is_better():
    table = report.score_table({"ours": {"style": 0.2, "edge": 12.75}, "published": {"style": 0.1234}})
    assert table.splitlines() == [
        "           style ↓  edge ↑",
        "ours         0.200  12.750",
        "published    0.123       -",
    ]


def test_the_score_table_knows_the_direction_of_every_score():
    scores = Scores(*(0.5,) * 7, "patches 7x7").as_dict()
    header = report.score_table({"ours": scores}).splitlines()[0]
    assert header.count("↓") + header.count("↑") == len(scores) == 7


def test_a_table_may_hold_words():
    table = report.score_table({"ours": {"style": 0.2, "features": "patches 7x7"}})
    assert table.splitlines()[1] == "ours    0.200  patches 7x7"


def test_no_scores_make_no_table():
    assert report.score_table({}) == ""


# Masks for people


def sky_and_wall() -> MaskSet:
    left = torch.zeros(40, 60)
    left[:, :15] = 1
    return MaskSet(torch.stack((left, 1 - left)), ("sky", "wall"), ((0, 0, 255), (255, 0, 0)), True, "", ())


def test_the_legend_shows_each_regions_colour_once():
    page = report.legend(sky_and_wall())
    assert page.shape == (2 * report.LINE_HEIGHT, report.CELL, 3)
    upper, lower = page[: report.LINE_HEIGHT], page[report.LINE_HEIGHT :]
    assert (upper == (0, 0, 255)).all(-1).sum() > 300 and not (upper == (255, 0, 0)).all(-1).any()
    assert (lower == (255, 0, 0)).all(-1).sum() > 300


def test_the_share_table_has_a_column_a_picture_and_a_dash_for_what_it_lacks():
    other = MaskSet(torch.ones(1, 8, 8), ("wall",), ((255, 0, 0),), True, "", ())
    lines = report.share_table([sky_and_wall(), other], ["a.png", "b.png"]).splitlines()
    assert [line.split() for line in lines] == [
        ["colour", "region", "a.png", "b.png"],
        ["#0000ff", "sky", "25.0%", "-"],
        ["#ff0000", "wall", "75.0%", "100.0%"],
    ]


def test_the_mask_sheet_holds_overlays_and_legends(tmp_path):
    photo = torch.full((3, 40, 60), 0.5)
    report.mask_sheet(
        [photo, photo], [sky_and_wall(), sky_and_wall()], ["one", "two"], tmp_path / "sheet.png"
    )
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == report.GAP + 2 * (report.CELL + report.GAP)
        pixels = np.array(sheet)
    # Half a veil of blue over middle grey, and the legend's full blue below it.
    assert (np.abs(pixels.astype(int) - (64, 64, 191)).max(-1) <= 1).any()
    assert (pixels == (0, 0, 255)).all(-1).any()
