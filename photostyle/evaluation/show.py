"""A result before the eyes: photo, references and result side by side, in a window or inline in a notebook."""

from typing import TYPE_CHECKING

from photostyle.errors import PhotostyleError
from photostyle.imaging.filters import fit_within, resize, size_of
from photostyle.process import import_matplotlib
from photostyle.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 800  # pixels of a picture's long side: three of them fill a screen of full HD
# Of matplotlib's, those that only write files, as a test holds.
FILE_BACKENDS = ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template")
INCHES = 5.0  # of a picture's width in the window


def show(result: Result) -> None:
    """Show photo, references and result of a transfer.

    In a notebook they appear inline; elsewhere in a window, and the call returns when that is closed. Raises
    PhotostyleError where there is neither: matplotlib's backend can only write files.
    """
    import_matplotlib()
    from matplotlib import pyplot

    if pyplot.get_backend().lower() in FILE_BACKENDS:
        raise PhotostyleError(
            f"there is no window to show a picture in (matplotlib's backend is {pyplot.get_backend()}); "
            "open the file that was written"
        )
    side_by_side(result)
    pyplot.show()


def side_by_side(result: Result) -> "Figure":
    """Photo, references and result in one row of a pyplot figure."""
    from matplotlib import pyplot

    pictures = [("photo", result.photo.pixels)]
    pictures += [("reference", each.pixels) for each in result.references]
    pictures += [("result", result.image)]
    figure, axes = pyplot.subplots(
        1, len(pictures), figsize=(INCHES * len(pictures), INCHES), layout="constrained"
    )
    for place, (title, pixels) in zip(axes, pictures, strict=True):
        small = resize(pixels, *fit_within(*size_of(pixels), SIDE))
        place.imshow(small.clamp(0, 1).permute(1, 2, 0).numpy())
        place.set_title(title)
        place.set_axis_off()
    return figure
