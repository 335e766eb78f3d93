"""Where styles lie: their z in a file, as a map for the eye (t-SNE), and which are nearest to a picture."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from photostyle.errors import PhotostyleError, shortened
from photostyle.evaluation.reports import write_figure
from photostyle.files.atomic import write_bytes_atomically

# Van der Maaten and Hinton (2008): 5 to 50 serve; fewer pictures than three times as many take less.
PERPLEXITY = 30.0
FEWEST = 4  # pictures of a map
FIGURE = (9.0, 6.5)  # inches: a README's width with a legend of 25 classes


@dataclass(frozen=True, eq=False)
class Embeddings:
    """z (N, d) of pictures, each with its file relative to the folder and its class."""

    z: Tensor
    files: tuple[str, ...]
    classes: tuple[str, ...]

    def save(self, path: Path) -> None:
        """Write an .npz with "z", "files" and "classes"."""
        buffer = io.BytesIO()
        np.savez(buffer, z=self.z.numpy(), files=np.array(self.files), classes=np.array(self.classes))
        write_bytes_atomically(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> "Embeddings":
        """Raises PhotostyleError where the file holds none."""
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                z, files, classes = file["z"], file["files"], file["classes"]
        except (OSError, KeyError, ValueError, TypeError, EOFError, NotImplementedError, BadZipFile) as error:
            raise PhotostyleError(
                f"{path} holds no embeddings ({shortened(error)}): write it with style-classes"
            ) from error
        return cls(torch.from_numpy(z), tuple(map(str, files)), tuple(map(str, classes)))

    def nearest(self, z: Tensor, count: int = 5) -> list[tuple[str, str, float]]:
        """The (file, class, cosine) of the nearest to a z (d,), the nearest first."""
        cosines = functional.cosine_similarity(self.z, z[None])
        order = cosines.argsort(descending=True, stable=True)[:count].tolist()
        return [(self.files[number], self.classes[number], float(cosines[number])) for number in order]


def map_of(z: Tensor, seed: int = 0) -> np.ndarray:
    """Places in the plane (N, 2) at which pictures of near z are near each other: t-SNE of their directions."""
    if len(z) < FEWEST:
        raise PhotostyleError(f"{len(z)} pictures make no map: give at least {FEWEST}")
    from sklearn.manifold import TSNE  # a second, for who draws

    perplexity = min(PERPLEXITY, (len(z) - 1) / 3)
    directions = functional.normalize(z, dim=1).numpy()
    places: np.ndarray = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(directions)
    return places


def plot_map(places: np.ndarray, classes: Sequence[str], path: Path) -> None:
    """Write a PNG of places (N, 2), coloured by class."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=FIGURE, layout="constrained")
    axes = figure.subplots()
    names = sorted(set(classes))
    # Twenty colours that can be told apart, then the same again with another mark.
    colours = colormaps["tab20"]
    for number, name in enumerate(names):
        own = places[np.array(classes) == name]
        mark = "os^Dv"[number // 20 % 5]
        axes.scatter(own[:, 0], own[:, 1], s=22, color=colours(number % 20), marker=mark, label=name)
    axes.set(title="styles by their z (t-SNE)", xticks=[], yticks=[])
    axes.legend(
        loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, ncols=1 + len(names) // 26, fontsize=8
    )
    write_figure(figure, path)
