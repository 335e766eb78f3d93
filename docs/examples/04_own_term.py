"""A term of your own, and the loop by itself: tensors in, steps out."""

from pathlib import Path

from skimage import data
from torchvision.transforms.functional import to_tensor

from photostyle import TERMS, Objective, Scene, Term, recipe, solve, write_image
from photostyle.imaging.rendering import enlarge


class PaleHighlights(Term):
    """The lightest tenth of the photo stays without colour."""

    name = "pale highlights"

    # Once per stage: the targets.
    def __init__(self, recipe, stage, scene, encoder):
        grey = scene.content.mean(0)
        self.lightest = grey > grey.quantile(0.9)

    # At every evaluation: a scalar with a gradient.
    def __call__(self, image):
        return 20 * (image - image.mean(0)).square().mean(0)[self.lightest].mean()


photo, reference = to_tensor(data.rocket()), to_tensor(data.coffee())
settings = recipe("patches", size=128, iterations=(30,))


# At every stage: a function from an image to {name: scalar}.
def objective(stage, scene):
    return Objective(settings, stage, scene, terms=(*TERMS, PaleHighlights))


first, *_, last = solve(Scene.of(photo, reference), settings, objective)
for name, value in last.losses.items():
    print(f"{name}: {first.losses[name]:.4f} -> {value:.4f}")
write_image(Path("pale.png"), enlarge(photo, last.image))
