"""What a style encoder begins with: z that tell the styles at hand apart."""

import torch
import torch.nn.functional as F

from photostyle.feedforward.conditioning import tell_apart
from photostyle.feedforward.encoder import StyleEncoder, style_network


def test_styles_are_told_apart_before_anything_is_learnt() -> None:
    torch.manual_seed(0)
    encoder = StyleEncoder(style_network("small"), 16)
    # Flat pictures of as many colours, some noise on each: what a style differs by at first sight.
    styles = (torch.rand(12, 3, 1, 1) + 0.1 * torch.rand(12, 3, 32, 32)).clamp(0, 1)

    def alike() -> float:
        z = F.normalize(encoder(styles), dim=1)
        return float((z @ z.T).detach().mean())

    before = alike()
    tell_apart(encoder, [styles[:5], styles[5:]])
    found = encoder.linear(encoder.features(styles))
    # Rounding of float32: the mean of a dozen differences of numbers that are some hundred times the deviation.
    torch.testing.assert_close(found.mean(0), torch.zeros(16), atol=1e-3, rtol=0)
    torch.testing.assert_close(found.std(0), torch.ones(16), atol=1e-3, rtol=0)
    assert before > 0.9 > 0.2 > alike()


def test_equal_styles_leave_it_finite() -> None:
    encoder = StyleEncoder(style_network("small"), 4)
    tell_apart(encoder, [torch.full((3, 3, 32, 32), 0.5)])
    assert bool(encoder.linear.weight.isfinite().all())
