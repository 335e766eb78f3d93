"""Arrays in, an array out: no file is read or written."""

from PIL import Image
from skimage import data

from photostyle import configure, transfer

photo = data.coffee()  # (400, 600, 3) uint8; uint16, and floats in [0, 1], are taken too
reference = Image.fromarray(data.chelsea())  # a PIL image, or a tensor (3, height, width)

config = configure("patches", content=photo, style=reference, size=128, iterations=(20,))
totals = []
result = transfer(config, watch=lambda step: totals.append(step.total))

picture = result.image.permute(1, 2, 0).numpy()  # (400, 600, 3) float32 in [0, 1], at the photo's own size
print(f"{picture.shape} {picture.dtype}; the objective fell from {totals[0]:.3f} to {totals[-1]:.3f}")
