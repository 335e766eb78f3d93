"""Which photographs, what results are called, pairs, what is still to be made, one look for all."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from photostyle.batch.look import Look, identity, looked, pooled, regions_of
from photostyle.batch.names import COMPANY, RESERVED, distinct_stems
from photostyle.batch.page import Shown, write_page, write_sheet
from photostyle.batch.pairs import read_pairs
from photostyle.batch.photos import find_photos
from photostyle.errors import PhotostyleError
from photostyle.files.arrays import mask_set_of, picture_of
from photostyle.files.images import Picture, write_image
from photostyle.files.lock import alone_in, lock_path
from photostyle.files.masks import whole_picture
from photostyle.pipeline import transfer
from photostyle.presets import configure
from photostyle.regions.guidance import Guidance, pair_regions


def touch(*paths: str) -> None:
    for each in map(Path, paths):
        each.parent.mkdir(parents=True, exist_ok=True)
        each.write_bytes(b"")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*words: str, references: tuple[str, ...] = ()) -> list[str]:
    return [str(each) for each in find_photos(words, Path("out"), map(Path, references))[0]]


def test_files_folders_and_patterns_are_photographs_once_each() -> None:
    touch("a/x.jpg", "a/deep/y.PNG", "a/notes.txt", "a/.hidden.jpg", "z.tif", "s[1].jpg", "s1.jpg")
    assert names("z.tif", "a") == ["z.tif", "a/x.jpg"]
    assert names("a/**/*") == ["a/deep/y.PNG", "a/x.jpg"]
    assert names("a/x.jpg", "./a", "a/*.jpg") == ["a/x.jpg"]
    assert names("s[1].jpg") == ["s[1].jpg"], "a file that has the name comes before a pattern"
    assert names("s[0-9].jpg") == ["s1.jpg"]


def test_references_and_results_are_no_photographs_unless_named() -> None:
    touch("ref.jpg", "x.jpg", "out/x.jpg")
    photos, notes = find_photos(["**/*.jpg"], Path("out"), [Path("ref.jpg")])
    assert photos == [Path("x.jpg")] and "2 left out" in notes[0]
    assert names("ref.jpg", references=("ref.jpg",)) == ["ref.jpg"]


@pytest.mark.parametrize("word", ["nowhere.jpg", "empty", "no*.jpg"])
def test_a_word_that_means_nothing_is_refused(word: str) -> None:
    Path("empty").mkdir()
    with pytest.raises(PhotostyleError, match=r"does not exist|names no photograph"):
        names(word)


def stems(*paths: str) -> list[str]:
    return distinct_stems([Path(each) for each in paths], [Path(each).stem for each in paths])


def test_results_are_told_apart_by_their_paths() -> None:
    assert stems("a/x.jpg", "b/y.jpg") == ["x", "y"]
    assert stems("a/x.jpg", "b/x.jpg", "b/y.jpg") == ["a-x", "b-x", "y"]
    assert stems("b/x.jpg", "a/x.jpg") == ["b-x", "a-x"], "whatever their order"
    assert stems("a/x.jpg", "a/x.png") == ["x-jpg", "x-png"]
    assert stems("a/X.jpg", "b/x.jpg") == ["a-X", "b-x"]
    assert stems("batch.jpg", "x.jpg", "x-solved.jpg") == ["batch-2", "x", "x-solved-2"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abA"),
            st.sampled_from(["x", "X", "a-x", "x-2", "batch", "x-masks"]),
            st.sampled_from([".jpg", ".png"]),
        ),
        unique=True,
        max_size=12,
    )
)
def test_no_two_results_share_a_name_or_what_is_written_beside_one(parts: list[tuple[str, str, str]]) -> None:
    photos = [Path(folder) / f"{stem}{suffix}" for folder, stem, suffix in parts]
    low = [each.casefold() for each in distinct_stems(photos, [each.stem for each in photos])]
    assert len(set(low)) == len(low) and not set(low) & set(RESERVED)
    assert not {f"{each}{beside}" for each in low for beside in COMPANY} & set(low)


def pairs(
    *lines: str, outside: bool = False, encoding: str = "utf-8-sig"
) -> list[tuple[str, dict[str, tuple[str, ...]], str | None]]:
    Path("set").mkdir(exist_ok=True)
    Path("set/pairs.csv").write_bytes("\r\n".join(lines).encode(encoding))
    return [(str(row.content), row.options, row.output) for row in read_pairs(Path("set/pairs.csv"), outside)]


def test_a_row_has_its_own_options_masks_and_name() -> None:
    touch("set/my photo.jpg", "set/ref.jpg", "set/m1.png", "set/m2.png")
    (row,) = pairs(
        "Content;style;masks;iterations;preserve-luminance;output",
        "my photo.jpg;ref.jpg;m1.png|m2.png;60 36;yes;new.png",
        ";;;;;",
    )
    options = {
        "masks": ("set/m1.png", "set/m2.png"),
        "iterations": ("60", "36"),
        "preserve_luminance": ("true",),
    }
    assert row == ("set/my photo.jpg", options, "new.png")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.situation("a byte order mark")
def test_a_file_of_pairs_may_begin_with_a_byte_order_mark(encoding: str) -> None:
    touch("set/é.jpg", "set/ref.jpg")
    (row,) = pairs("content,style", "é.jpg,ref.jpg", encoding=encoding)
    assert row[0] == "set/é.jpg"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["content,stile", "x.jpg,x.jpg"], "line 1: no column 'stile'; did you mean style"),
        (["style", "x.jpg"], "line 1: no column content"),
        (["content,style"], "holds no pair"),
        (["content,style", "x.jpg,x.jpg", "gone.jpg,x.jpg"], "line 3: content .*gone.jpg does not exist"),
        (["content,style", ",x.jpg"], "line 2: content is empty"),
        (["content,style", "x.jpg,x.jpg,1"], "line 2: 3 cells under 2 columns"),
        (["content,style", "../secret.jpg,x.jpg"], "line 2: content ../secret.jpg lies outside"),
        (["content,output", "x.jpg,../x.jpg"], "line 2: output is '../x.jpg'"),
        (["content,output", "x.jpg,x.txt"], "line 2: output is 'x.txt'"),
        (
            ["content,size", "x.jpg,--output=/x.png"],
            "line 2: size is '--output=/x.png', which begins like an option",
        ),
        (["content,animate", "x.jpg,x.gif"], "line 1: no column 'animate'"),
        (["content,preserve_luminance", "x.jpg,maybe"], "line 2: preserve_luminance is 'maybe'"),
        (["content,iterations", 'x.jpg,"6 ""x"'], "line 2: iterations"),
    ],
)
def test_a_bad_row_is_named_by_its_line(lines: list[str], said: str) -> None:
    touch("set/x.jpg", "secret.jpg")
    with pytest.raises(PhotostyleError, match=said):
        pairs(*lines)


def test_files_outside_are_read_where_that_is_asked_for() -> None:
    touch("set/x.jpg", "secret.jpg")
    assert pairs("content,style", "../secret.jpg,x.jpg", outside=True)[0][0] == "set/../secret.jpg"


@given(st.binary(max_size=200))
def test_no_bytes_make_more_of_a_csv_than_a_line_of_error(content: bytes) -> None:
    Path("any.csv").write_bytes(b"content,style\n" + content)
    try:
        read_pairs(Path("any.csv"))
    except PhotostyleError as error:
        assert "\n" not in str(error) and "any.csv" in str(error)


def test_one_batch_at_a_time_and_a_lock_that_is_left_holds_nobody(tmp_path: Path) -> None:
    lock_path(tmp_path, "batch").write_bytes(b"")  # of a process that was killed
    with alone_in(tmp_path, "batch"):
        # flock holds between two openings of one process too.
        again = alone_in(tmp_path, "batch", patience=0.02)
        with pytest.raises(PhotostyleError, match="another photostyle command is at work"), again:
            pass
    with pytest.raises(KeyboardInterrupt), alone_in(tmp_path, "batch"):
        raise KeyboardInterrupt
    assert not lock_path(tmp_path, "batch").exists()


def photograph(image: np.ndarray, side: int = 160) -> Picture:
    small = Image.fromarray(image)
    small.thumbnail((side, side))
    return picture_of(small)


def guided(photo: Picture, style: Picture) -> Guidance:
    masks = [whole_picture(each.height, each.width) for each in (photo, style)]
    return pair_regions(photo.pixels, masks[0], style.pixels, masks[1])


def look_of(photos: list[Picture], style: Picture, **settings: object) -> Look:
    recipe = configure("instant", content=photos[0], style=style, **settings)
    return pooled([regions_of(each, [style], guided(each, style)) for each in photos], recipe, "")


def crops(photo: Picture) -> list[Picture]:
    """Four quarters, row by row."""
    height, width = photo.height // 2, photo.width // 2
    parts = [photo.pixels[:, y : y + height, x : x + width] for y in (0, height) for x in (0, width)]
    return [picture_of(each.contiguous()) for each in parts]


@pytest.mark.parametrize("settings", [{}, {"boldness": 1.0}, {"strength": 0.4, "preserve_luminance": True}])
def test_crops_of_one_picture_join_without_a_seam(settings: dict[str, object]) -> None:
    photo, style = photograph(data.coffee()), photograph(data.rocket())
    whole = picture_of(photo.pixels[:, : photo.height // 2 * 2, : photo.width // 2 * 2].contiguous())
    parts, recipe = crops(whole), configure("instant", content=whole, style=style, **settings)
    look = look_of(parts, style, **settings)
    done = [looked(each.pixels, guided(each, style), look, recipe) for each in parts]
    joined = torch.cat([torch.cat(done[:2], 2), torch.cat(done[2:], 2)], 1)
    expected = looked(whole.pixels, guided(whole, style), look, recipe)
    # A few products and sums of numbers up to a few units, in float32.
    torch.testing.assert_close(joined, expected, atol=1e-5, rtol=0)
    assert (joined - whole.pixels).abs().mean() > 0.02, "it does something"


def test_a_set_of_one_is_the_closed_form_of_a_run() -> None:
    photo, style = photograph(data.coffee()), photograph(data.rocket())
    recipe = configure("instant", content=photo, style=style, boldness=0.0, protect=("none",))
    look = look_of([photo], style)
    assert look.boldness == {"all": 0.0}
    result = transfer(recipe)
    assert look.strength["all"] == pytest.approx(float(result.how.strength[0]))
    found = looked(photo.pixels, guided(photo, style), look, recipe)
    torch.testing.assert_close(found, result.image, atol=1e-5, rtol=0)


def test_the_statistics_of_a_set_are_those_of_its_photographs_side_by_side() -> None:
    """The oracle: photographs of one size put together are one picture, whose map is the set's. At full boldness."""
    one, other = (
        picture_of(torch.rand(3, 40, 60, generator=torch.Generator().manual_seed(k)) * s)
        for k, s in ((0, 0.5), (1, 0.9))
    )
    style = photograph(data.rocket(), 60)
    both = picture_of(torch.cat([one.pixels, other.pixels], 2))
    pool, single = (look_of(each, style, boldness=1.0) for each in ([one, other], [both]))
    torch.testing.assert_close(
        torch.tensor(pool.maps["all"]), torch.tensor(single.maps["all"]), atol=1e-6, rtol=1e-6
    )
    assert pool.strength == single.strength == {"all": 1.0}
    assert look_of([other, one], style, boldness=1.0).maps["all"] == pytest.approx(
        np.array(pool.maps["all"]), abs=1e-9
    )


def test_with_masks_each_name_has_a_map_and_lacking_one_is_no_matter() -> None:
    photo, style = photograph(data.coffee(), 64), photograph(data.rocket(), 64)
    labels, theirs = np.zeros((photo.height, photo.width), int), np.zeros((style.height, style.width), int)
    labels[photo.height // 2 :] = theirs[style.height // 2 :] = 1
    both = pair_regions(photo.pixels, mask_set_of(labels), style.pixels, mask_set_of(theirs))
    one = pair_regions(photo.pixels, mask_set_of(np.zeros_like(labels)), style.pixels, mask_set_of(theirs))
    recipe = configure("instant", content=photo, style=style)
    look = pooled([regions_of(photo, [style], each) for each in (both, one)], recipe, "")
    assert look.maps.keys() == {"0", "1"} and look.boldness == {"0": 1.0, "1": 1.0}
    assert json.loads(json.dumps(vars(look))) == vars(look)
    assert looked(photo.pixels, one, look, recipe).shape == photo.pixels.shape
    with pytest.raises(PhotostyleError, match="no region 0"):
        looked(photo.pixels, one, pooled([{"1": regions_of(photo, [style], both)["1"]}], recipe, ""), recipe)
    with pytest.raises(PhotostyleError, match="no photograph"):
        pooled([], recipe, "")


def test_a_look_follows_from_settings_and_inputs_in_any_order() -> None:
    recipe, bold = (configure("instant", content="c", style="s", boldness=b) for b in (None, 1.0))
    same = {identity(recipe, [["a", "s"], ["b", "s"]]), identity(recipe, [["b", "s"], ["a", "s"]])}
    assert len(same) == 1
    assert len(same | {identity(recipe, [["a", "s"]]), identity(bold, [["a", "s"], ["b", "s"]])}) == 3


def test_the_page_escapes_names_and_fetches_nothing() -> None:
    name = "<b> & 50%#\"'?.jpg"
    shown = [
        Shown(f"{name} after r.jpg", name, f"thumbnails/{name}", f"thumbnails/{name}", "<i>"),
        Shown(name, name, "", "", "</ul>", failed=True),
        Shown("\udcff.jpg", "\udcff.jpg", "", "", ""),
    ]
    write_page(Path("index.html"), "<title>", ["<u>"], shown)
    text = Path("index.html").read_text(encoding="utf-8")
    assert not any(each in text for each in ("<b>", "<i>", "<u>", "http:", "https:", "<script"))
    assert 'src="./thumbnails/%3Cb%3E%20%26%2050%25%23%22%27%3F.jpg"' in text and 'href="./%FF.jpg"' in text
    assert text.count("</ul>") == 1


def test_a_sheet_of_many_is_no_strip() -> None:
    write_image(Path("small.png"), torch.rand(3, 20, 30))
    write_sheet(Path("sheet.jpg"), [("x.jpg", Path("small.png"), Path("small.png"))] * 50)
    with Image.open("sheet.jpg") as sheet:
        assert sheet.width <= 3600 and 1 / 3 < sheet.width / sheet.height < 3


def test_what_spreadsheets_write_is_read() -> None:
    touch("set/a,b.jpg")
    with Path("set/pairs.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t").writerows([["content", "boldness"], ["a,b.jpg", "0.5"]])
    assert read_pairs(Path("set/pairs.csv"))[0].options == {"boldness": ("0.5",)}
