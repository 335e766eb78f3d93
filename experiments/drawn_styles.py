"""Style pictures drawn by code, so that anybody may have them: manners of painting with nothing in them."""

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

SIDE = 256  # pixels: the larger of the document's two crops

Array = np.ndarray
Palette = tuple[tuple[int, int, int], ...]

INK, CREAM = (24, 22, 30), (242, 230, 204)
GLASS: Palette = (
    (178, 24, 43),
    (33, 102, 172),
    (244, 165, 30),
    (27, 120, 55),
    (118, 42, 131),
    (146, 197, 222),
)
NIGHT: Palette = (
    (12, 26, 76),
    (25, 66, 142),
    (64, 128, 196),
    (146, 190, 210),
    (246, 214, 92),
    (238, 170, 40),
)
WARM: Palette = ((226, 88, 34), (244, 176, 66), (250, 224, 140), (158, 40, 50), (90, 120, 160))
SEA: Palette = ((18, 42, 92), (46, 96, 150), (120, 168, 190), CREAM, CREAM, (196, 66, 50))
FLAT: Palette = ((236, 232, 220), (236, 232, 220), (208, 32, 36), (30, 60, 150), (246, 206, 40))
WASH: Palette = ((250, 240, 226), (232, 190, 190), (160, 196, 196), (120, 150, 190), (206, 180, 216))
GOLD: Palette = ((30, 22, 14), (96, 62, 20), (176, 124, 36), (232, 190, 84), (250, 228, 160), (120, 32, 28))
MOSS: Palette = ((40, 70, 36), (96, 130, 50), (176, 190, 90), (110, 60, 130), (190, 140, 190))
PRINT: Palette = ((0, 160, 220), (230, 30, 120), (250, 230, 40))
PAGE: Palette = (INK, CREAM)


def glass(random: np.random.Generator, palette: Palette) -> Array:
    """Stained glass: cells of one colour in black lead."""
    (near, second), cell = _cells(random, 140)
    colours = _colours(palette)[random.integers(len(palette), size=140)][cell]
    light = 0.8 + 0.2 * _noise(random, 3)[..., None]
    return np.where((second - near < 3.0)[..., None], np.array(INK), colours * light)


def swirls(random: np.random.Generator, palette: Palette) -> Array:
    """Fine strokes along eddies."""
    return _stroked(random, palette, _eddies(random, 7), grain=1.6)


def dots(random: np.random.Generator, palette: Palette) -> Array:
    """Points of paint, none like its neighbour."""
    (near, _), cell = _cells(random, 2600)
    picked = _picked(random, palette, _noise(random, 40))[:, :, None]
    own = _colours(palette)[random.integers(len(palette), size=2600)][cell]
    paint = np.where(random.random(2600)[cell][..., None] < 0.55, own, picked[:, :, 0])
    return np.where((near < 2.4)[..., None], paint, np.array(CREAM))


def hatching(random: np.random.Generator, palette: Palette) -> Array:
    """Ink lines in two directions, closer where it is dark."""
    down, across = np.mgrid[:SIDE, :SIDE]
    dark = _noise(random, 30)
    bend = 6 * _noise(random, 25)
    first = np.sin((across + down + bend) * 1.25) < 2.2 * dark - 1.0
    second = np.sin((across - down + bend) * 1.25) < 2.2 * dark - 1.7
    return np.where((first | second)[..., None], np.array(palette[0]), np.array(palette[-1]))


def waves(random: np.random.Generator, palette: Palette) -> Array:
    """Bands as in a woodcut, with ink between them."""
    down, across = np.mgrid[:SIDE, :SIDE]
    height = down / 15 + 1.2 * np.sin(across / 17 + 3 * _noise(random, 40)) + 3 * _noise(random, 45)
    band = np.floor(height).astype(int) % len(palette)
    return np.where((height % 1 < 0.14)[..., None], np.array(INK), _colours(palette)[band])


def blocks(random: np.random.Generator, palette: Palette) -> Array:
    """Rectangles of plain colours, ruled in black."""
    picture = np.zeros((SIDE, SIDE, 3))

    def divide(top: int, left: int, bottom: int, right: int) -> None:
        longest = max(bottom - top, right - left)
        if longest > 90 or (longest > 30 and random.random() < 0.75):
            share = random.uniform(0.3, 0.7)
            if bottom - top > right - left:
                middle = round(top + share * (bottom - top))
                divide(top, left, middle, right)
                divide(middle, left, bottom, right)
            else:
                middle = round(left + share * (right - left))
                divide(top, left, bottom, middle)
                divide(top, middle, bottom, right)
            return
        picture[top:bottom, left:right] = np.array(INK)
        picture[top + 2 : bottom - 2, left + 2 : right - 2] = palette[random.integers(len(palette))]

    divide(0, 0, SIDE, SIDE)
    return picture


def wash(random: np.random.Generator, palette: Palette) -> Array:
    """Watercolour: pale stains with darker rims."""
    level = len(palette) * (0.5 * _noise(random, 22) + 0.5 * _noise(random, 8))
    rim = np.exp(-(np.abs(level - np.round(level)) / 0.05))
    paper = 0.97 + 0.03 * _noise(random, 1)
    return _colours(palette)[level.astype(int).clip(0, len(palette) - 1)] * (paper - 0.22 * rim)[..., None]


def rings(random: np.random.Generator, palette: Palette) -> Array:
    """Rings inside rings, of many sizes."""
    (near, _), cell = _cells(random, 110)
    width = random.uniform(2.5, 6.0, size=110)[cell]
    return _colours(palette)[(near / width + random.integers(6, size=110)[cell]).astype(int) % len(palette)]


def halftone(random: np.random.Generator, palette: Palette) -> Array:
    """Three rasters of dots, each turned, as in print."""
    down, across = np.mgrid[:SIDE, :SIDE]
    page = np.full((SIDE, SIDE, 3), 250.0)
    for ink, angle in zip(palette, (0.26, 1.31, 0.0), strict=False):
        u = np.cos(angle) * across + np.sin(angle) * down
        v = np.cos(angle) * down - np.sin(angle) * across
        raster = np.cos(u * 1.05) + np.cos(v * 1.05)
        page = np.where(
            (raster > 1.6 - 3.0 * _noise(random, 30))[..., None], page * np.array(ink) / 255, page
        )
    return page


def brush(random: np.random.Generator, palette: Palette) -> Array:
    """Broad strokes along two eddies."""
    return _stroked(random, palette, _eddies(random, 2), grain=3.5)


MANNERS: dict[str, tuple[Callable[[np.random.Generator, Palette], Array], Palette]] = {
    "glass": (glass, GLASS),
    "swirls": (swirls, NIGHT),
    "dots": (dots, WARM),
    "hatching": (hatching, PAGE),
    "waves": (waves, SEA),
    "blocks": (blocks, FLAT),
    "wash": (wash, WASH),
    "rings": (rings, GOLD),
    "halftone": (halftone, PRINT),
    "brush": (brush, MOSS),
}
STYLES = tuple(MANNERS)


def drawn(name: str, colours_of: str | None = None) -> Array:
    """A style picture by its manner's name: (SIDE, SIDE, 3) uint8, always the same.

    colours_of: in the palette of another one, where everything lies elsewhere too; as many styles as there are couples.
    """
    paint, palette = MANNERS[name]
    seed = [STYLES.index(name)]
    if colours_of is not None:
        palette = MANNERS[colours_of][1]
        seed.append(STYLES.index(colours_of))
    picture = paint(np.random.default_rng(seed), palette)
    return gaussian_filter(picture, (0.5, 0.5, 0)).round().clip(0, 255).astype(np.uint8)


def _colours(palette: Palette) -> Array:
    return np.array(palette, dtype=float)


def _noise(random: np.random.Generator, scale: float) -> Array:
    """Smooth noise (SIDE, SIDE), evenly spread over [0, 1]."""
    smooth = gaussian_filter(random.normal(size=(SIDE, SIDE)), scale, mode="wrap")
    return smooth.ravel().argsort().argsort().reshape(SIDE, SIDE) / SIDE**2


def _cells(random: np.random.Generator, count: int) -> tuple[Array, Array]:
    """Each pixel's distances to the two nearest of random points (2, SIDE, SIDE), and which is nearest."""
    grid = np.stack(np.mgrid[:SIDE, :SIDE], axis=-1)
    distances, found = cKDTree(random.uniform(0, SIDE, size=(count, 2))).query(grid, k=2)
    return np.moveaxis(distances, -1, 0), found[..., 0]


def _picked(random: np.random.Generator, palette: Palette, level: Array) -> Array:
    return _colours(palette)[(level * len(palette)).astype(int).clip(0, len(palette) - 1)]


def _eddies(random: np.random.Generator, count: int) -> Array:
    """Unit directions (2, SIDE, SIDE) around so many centres."""
    grid = np.stack(np.mgrid[:SIDE, :SIDE]).astype(float)
    flow = np.array([0.3, 1.0])[:, None, None] * np.ones((1, SIDE, SIDE))
    for centre, turn in zip(random.uniform(0, SIDE, (count, 2)), random.choice([-3, 3], count), strict=True):
        away = grid - centre[:, None, None]
        reach = np.exp(-np.square(away).sum(0) / (2 * 38.0**2))
        flow += turn * reach * np.stack([away[1], -away[0]]) / (np.sqrt(np.square(away).sum(0)) + 8)
    return flow / (np.sqrt(np.square(flow).sum(0)) + 1e-9)


def _stroked(random: np.random.Generator, palette: Palette, flow: Array, grain: float) -> Array:
    """Grains of paint smeared along a flow (line integral convolution: Cabral and Leedom 1993)."""
    colours = _picked(random, palette, 0.6 * _noise(random, 30) + 0.4 * _noise(random, grain))
    grid = np.stack(np.mgrid[:SIDE, :SIDE]).astype(float)
    total, steps = np.zeros_like(colours), 14
    for way in (1.0, -1.0):
        place = grid.copy()
        for _ in range(steps):
            total += np.stack(
                [map_coordinates(colours[..., c], place, order=1, mode="wrap") for c in range(3)], axis=-1
            )
            place += way * np.stack([map_coordinates(each, place, order=1, mode="wrap") for each in flow])
    mean = total / (2 * steps)
    return 128 + 1.35 * (mean - 128)  # smearing takes contrast, which is given back
