"""Arrays in, an array out: no file is read or written."""

from PIL import Image
from skimage import data

from photostyle import configure, transfer

photo = data.coffee()  # (400, 600, 3) uint8; uint16 and floats in [0, 1] will do
reference = Image.fromarray(data.chelsea())  # a PIL image

config = configure(
    "patches",
    content=photo,
    style=reference,
    boldness=1.0,  # a cup and a cat: nothing relates them, so by itself it would stay at the closed form
    size=128,
    iterations=(10,),
)
totals = []
result = transfer(config, watch=lambda step: totals.append(step.total))

picture = result.image.permute(1, 2, 0).numpy()  # float32 in [0, 1]
print(f"{picture.shape}, the photo's own size")
print(f"the objective fell from {totals[0]:.3f} to {totals[-1]:.3f}")
