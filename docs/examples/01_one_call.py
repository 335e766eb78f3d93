"""Two photographs as files, one call, one picture."""

from PIL import Image
from skimage import data

from photostyle import configure, transfer, write_image

# Any two photographs will do; these come with scikit-image.
Image.fromarray(data.coffee()).save("photo.png")
Image.fromarray(data.chelsea()).save("reference.png")

# Small and short, so that it takes seconds: leave out the last two lines
# for a picture to keep.
config = configure(
    "patches",
    content="photo.png",
    style="reference.png",
    output="result.png",
    size=128,
    iterations=(10,),
)
result = transfer(config, say=print)
write_image(config.output, result.image)
print(f"{config.output}: {len(result.trace)} evaluations on {result.device}")
