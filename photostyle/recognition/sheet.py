"""A sheet of pictures, each above the likeliest classes that a network sees in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from photostyle.errors import PhotostyleError
from photostyle.evaluation.reports import to_pillow, within_cells, write_figure
from photostyle.process import import_matplotlib
from photostyle.recognition.recognise import Guess

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 4  # a fifth picture begins a new row: 1920 px of width are a screen's
WIDTH, PICTURE, LINE = 4.0, 3.0, 0.32  # inches of a column, of a picture's height, of a class's bar
# Bars and words of classes, and of those that the first picture has not among its own.
SAME, OTHER = "tab:blue", "0.75"
INK, PALE = "black", "0.4"


@dataclass(frozen=True)
class Recognised:
    """A picture (3, H, W) in [0, 1] with its caption and its likeliest classes."""

    caption: str
    picture: Tensor
    guesses: Sequence[Guess]


def recognition_sheet(
    recognised: Sequence[Recognised], path: Path, title: str = "", *, compared: bool = False
) -> None:
    """Write a PNG of pictures side by side, the probabilities of their likeliest classes below as bars.

    compared: classes that the first picture has not among its likeliest are grey, so that what is kept shows.
    """
    if not recognised:
        raise PhotostyleError(f"{path}: no pictures were given for the sheet")
    import_matplotlib()
    from matplotlib.figure import Figure  # half a second, for who draws

    columns = min(COLUMNS, len(recognised))
    rows = -(-len(recognised) // columns)
    bars = LINE * max(1, *(len(each.guesses) for each in recognised)) + 0.5
    figure = Figure(figsize=(WIDTH * columns, (PICTURE + bars) * rows + 0.4), layout="constrained")
    places = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[PICTURE, bars] * rows)
    for axes in places.flat:
        axes.set_axis_off()
    compared_with = recognised[:1] if compared else recognised
    known = {guess.name for each in compared_with for guess in each.guesses}
    for number, each in enumerate(recognised):
        row, column = divmod(number, columns)
        _show(places[2 * row, column], each)
        _draw_bars(places[2 * row + 1, column], each.guesses, known)
    figure.suptitle(title, fontsize="medium")
    write_figure(figure, path)


def _show(axes: "Axes", each: Recognised) -> None:
    # $ would begin a formula.
    axes.set_title(each.caption.replace("$", r"\$"), fontsize="medium")
    axes.set_anchor("N")  # captions in line, whatever the pictures' shapes
    axes.imshow(to_pillow(within_cells(each.picture)))


def _draw_bars(axes: "Axes", guesses: Sequence[Guess], known: set[str]) -> None:
    """From 0 to 1, the likeliest above; name and percentage on the bar, since names are longer than any margin."""
    axes.set_axis_on()
    axes.barh(
        range(len(guesses)),
        [guess.probability for guess in guesses],
        color=[SAME if guess.name in known else OTHER for guess in guesses],
        alpha=0.6,
    )
    for line, guess in enumerate(guesses):
        ink = INK if guess.name in known else PALE  # the shortest bars have no colour to see
        text = f"{guess.probability:.1%}  {guess.name}"
        axes.text(0.01, line, text, va="center", fontsize="small", color=ink)
    axes.set(xlim=(0, 1), ylim=(len(guesses) - 0.5, -0.5), yticks=[], xticks=[0, 0.5, 1])
    axes.spines[["top", "right"]].set_visible(False)
