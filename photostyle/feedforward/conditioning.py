"""How a style encoder begins: with published weights where they can be had, and with the styles at hand told apart.

The pooled features of a network that was not trained on styles are much alike: of a random one, any two styles' z are
at a cosine of 0.99, and the generator waits for hundreds of steps until they part. So the linear layer is scaled and
shifted to give, over the styles at hand, numbers of mean 0 and deviation 1 (initialisation by data: Mishkin and Matas,
ICLR 2016). It changes where training begins, not what is trained.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from photostyle.feedforward.encoder import StyleEncoder
from photostyle.losses.weights import WeightsNotFound
from photostyle.networks.network import find_network

LEAST_DEVIATION = 1e-6  # a direction in which the styles do not differ is left as it is


def published_inception(file: Path | None, download: bool, say: Callable[[str], None]) -> nn.Module | None:
    """torchvision's Inception-v3 with its weights, from a file, the cache or a download.

    None, and a line that says so, where no file is named and there are none elsewhere. Raises PhotostyleError for a
    file that cannot be used.
    """
    try:
        return find_network("inception_v3", file, download=download, say=say).module
    except WeightsNotFound as error:
        if file is not None:
            raise
        say(f"note: the style network begins with random weights ({error})")
        return None


@torch.no_grad()
def tell_apart(encoder: StyleEncoder, styles: Iterable[Tensor]) -> None:
    """Set the encoder's linear layer so that the styles, batches (B, 3, h, w), have h of mean 0 and deviation 1."""
    training = encoder.training
    encoder.eval()
    features = torch.cat([encoder.features(batch) for batch in styles])
    encoder.train(training)
    linear = encoder.linear
    spread = (features @ linear.weight.T).std(0)
    linear.weight /= torch.where(spread > LEAST_DEVIATION, spread, 1.0)[:, None]
    linear.bias.copy_(-(features @ linear.weight.T).mean(0))
