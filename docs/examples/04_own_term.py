"""A term of your own beside the library's, and the loop by itself: tensors in, steps out."""

from pathlib import Path

from skimage import data
from skimage.util import img_as_float32
from torch import from_numpy

from photostyle import TERMS, Objective, Scene, Term, recipe, solve, write_image
from photostyle.imaging.rendering import enlarge


class PaleHighlights(Term):
    """The lightest tenth of the photo stays without colour, whatever the reference says."""

    name = "pale highlights"

    def __init__(self, recipe, stage, scene, encoder):  # once per stage: the targets
        grey = scene.content.mean(0)
        self.lightest = grey > grey.quantile(0.9)

    def __call__(self, image):  # at every evaluation: a scalar with a gradient
        return 20 * (image - image.mean(0)).square().mean(0)[self.lightest].mean()


photo, reference = (
    from_numpy(img_as_float32(each)).permute(2, 0, 1) for each in (data.rocket(), data.coffee())
)
settings = recipe("patches", size=128, iterations=(30,))


def objective(stage, scene):  # or any function that makes one from an image to weighted scalars by name
    return Objective(settings, stage, scene, terms=(*TERMS, PaleHighlights))


first, *_, last = solve(Scene.of(photo, reference), settings, objective)
for name, value in last.losses.items():
    print(f"{name}: {first.losses[name]:.4f} -> {value:.4f}")
write_image(Path("pale.png"), enlarge(photo, last.image))
