import os
import threading
from pathlib import Path

import pytest

from photostyle.errors import PhotostyleError, printable, shown
from photostyle.evaluation.records import read_record
from photostyle.files import reading
from photostyle.files.legends import parse_legend, read_legend
from photostyle.files.places import check_name
from photostyle.files.reading import file_bytes, parsed_json, parsed_toml
from photostyle.settings import read_settings

PATH = Path("somebody's.toml")
DEEP, GIANT = "[" * 20_000, "9" * 5_000


def refusal(function: object, *arguments: object) -> str:
    """The one line with which a function refuses its arguments."""
    with pytest.raises(PhotostyleError) as caught:
        function(*arguments)  # type: ignore[operator]
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000
    return str(caught.value)


@pytest.mark.parametrize("text", [f"a = {DEEP}", f"a = {GIANT}", 'a = "\\', "\0", "a = {a=" * 3_000])
def test_no_toml_is_more_than_a_line(text: str) -> None:
    assert "is no TOML file" in refusal(parsed_toml, PATH, text)


@pytest.mark.parametrize("text", [DEEP, GIANT, '{"a":' * 20_000, "\0"])
def test_no_json_is_more_than_a_line(text: str) -> None:
    assert "is no JSON file" in refusal(parsed_json, PATH, text)


@pytest.mark.parametrize("reader", [read_settings, read_legend, read_record])
@pytest.mark.parametrize("data", [b"\xff\xfe\0\0", b"a = " + DEEP.encode(), GIANT.encode(), b""])
def test_every_text_that_is_read_goes_through_this_door(tmp_path: Path, reader: object, data: bytes) -> None:
    (tmp_path / "a").write_bytes(data)
    if data or reader is not read_settings:  # an empty file of settings says nothing, and that is fine
        refusal(reader, tmp_path / "a")


@pytest.mark.situation("a byte order mark")
def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("size = 512\n", encoding="utf-8-sig")
    assert read_settings(tmp_path / "a.toml") == {"size": 512}
    legend = 'kind = "labels"\nfile = "a.png"\n[regions]\na = { value = 0, colour = "#000000" }\n'
    (tmp_path / "legend.toml").write_text(legend, encoding="utf-8-sig")
    assert read_legend(tmp_path / "legend.toml").regions[0].name == "a"
    assert parsed_json(PATH, b"\xef\xbb\xbf[1]") == [1]
    for order in ("utf-16-le", "utf-16-be"):
        (tmp_path / "a.toml").write_bytes("\ufeffsize = 512\n".encode(order))
        assert read_settings(tmp_path / "a.toml") == {"size": 512}


def test_a_value_is_shown_on_a_line() -> None:
    nested: list[object] = []
    for _ in range(5_000):
        nested = [nested]
    assert shown(nested) == "a list"
    assert len(shown("x" * 10_000)) < 200 and "\n" not in shown("a\nb")
    assert shown(10**5_000) == "a int"


def test_what_is_not_printable_is_written_as_an_escape() -> None:
    assert printable("caf\udce9\n\x1b[31m ↓ é") == "caf\\udce9\\n\\x1b[31m ↓ é"


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(40 << 30)
    for most in (reading.MOST_BYTES, reading.MOST_TEXT):
        assert "has more than" in refusal(file_bytes, tmp_path / "sparse", most)
    assert "has more than" in refusal(read_settings, tmp_path / "sparse")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero here")
def test_a_device_is_no_file() -> None:
    assert "is a device" in refusal(read_settings, Path("/dev/zero"))


def test_names_that_cannot_be_are_refused(tmp_path: Path) -> None:
    assert "a\\nb does not exist" in refusal(file_bytes, tmp_path / "a\nb")
    for path in (tmp_path / ("y" * 300), tmp_path / "a\0b"):
        assert "cannot be read" in refusal(file_bytes, path)
        assert "cannot be written" in refusal(check_name, path)
    assert "is a folder" in refusal(file_bytes, tmp_path)
    assert "names no file" in refusal(check_name, Path())  # "." and an empty --output
    check_name(tmp_path / "z.png")


@pytest.mark.situation("an input from a pipe")
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_read_once_and_nobody_waits_for_one_without_a_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    sent = os.urandom(300_000)  # more than a pipe holds
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(sent,))
    writer.start()
    assert file_bytes(tmp_path / "pipe") == sent
    writer.join()
    monkeypatch.setattr(reading, "SILENCE", 0.05)
    assert "nothing was written" in refusal(file_bytes, tmp_path / "pipe")


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png", "deep/../../secret.png", "link.png"])
@pytest.mark.parametrize("kind", ["labels", "soft", "colours"])
def test_a_legend_names_nothing_outside_its_folder(tmp_path: Path, name: str, kind: str) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    source = {"labels": "value = 0, ", "soft": f'file = "{name}", ', "colours": ""}[kind]
    file = "" if kind == "soft" else f'file = "{name}"\n'
    legend = parse_legend(
        folder / "legend.toml", f'kind = "{kind}"\n{file}[regions]\na = {{ {source}colour = "#000000" }}\n'
    )
    with pytest.raises(PhotostyleError, match="lies outside its folder"):
        _ = legend.files


@pytest.mark.parametrize("name", ["x" * 2000, "a\\u0000b"])
def test_a_name_in_a_legend_that_can_be_no_file_is_a_line(name: str) -> None:
    text = f'kind = "soft"\n[regions]\na = {{ file = "{name}", colour = "#000000" }}\n'
    legend = parse_legend(PATH, text)
    assert "can be no file" in refusal(lambda: legend.files)
