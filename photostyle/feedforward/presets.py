"""Trainings for three machines: the document's, an H100's in ten minutes, two CPU cores' in half an hour."""

from dataclasses import dataclass
from typing import Literal

from photostyle.feedforward.settings import ModelSettings
from photostyle.feedforward.train import TrainingSettings

PresetName = Literal["document", "quick", "tiny"]


@dataclass(frozen=True)
class TrainingPreset:
    """What is trained, and how."""

    model: ModelSettings
    training: TrainingSettings


PRESETS: dict[PresetName, TrainingPreset] = {
    # Its numbers are the defaults. It names neither width nor blocks (Johnson et al.'s here) nor the dimension of z.
    "document": TrainingPreset(ModelSettings(), TrainingSettings()),
    # 25 000 steps of 8: what an H100 was estimated to do in ten minutes (not measured here). Colours that a style may
    # choose (no normalisation in the decoder) need a rate that rises slowly, and a short training one that falls.
    "quick": TrainingPreset(
        ModelSettings(decoder_norm="none"),
        TrainingSettings(
            batch=8, epochs=20, encoder_epochs=2, learning_rate=1e-3, schedule="cosine", warmup=500
        ),
    ),
    # A quarter of Johnson's channels and a style network that learns from few styles.
    "tiny": TrainingPreset(
        ModelSettings(channels=16, blocks=3, dimension=64, style_network="small", decoder_norm="none"),
        TrainingSettings(
            size=96,
            style_sizes=(96,),
            style_crops=32,
            epoch_contents=400,
            batch=4,
            epochs=60,
            encoder_epochs=6,
            learning_rate=1e-3,
            schedule="cosine",
            warmup=150,
        ),
    ),
}
