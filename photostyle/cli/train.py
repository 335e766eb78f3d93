"""Trainings of feed-forward networks on the command line: what scripts/train.py runs."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import torch
import tyro

from photostyle.cli.arguments import parse
from photostyle.cli.console import DONE, Ending, exit_code, line, make_folder
from photostyle.cli.finetune import shown, said
from photostyle.cli.stopping import stop_asked
from photostyle.errors import PhotostyleError, did_you_mean
from photostyle.feedforward.distributed import joined
from photostyle.feedforward.embeddings import Embeddings, map_of, plot_map
from photostyle.feedforward.encoder import StyleEncoder, style_network
from photostyle.feedforward.multistyle import CURVES, MODEL, RECORD, SAMPLES, Asked, multistyle
from photostyle.feedforward.presets import PRESETS, PresetName
from photostyle.feedforward.settings import ModelSettings
from photostyle.feedforward.style_classes import ClassSettings
from photostyle.feedforward.styles_known import ENCODER, KNOWN, MAP, know_styles, nearest_to
from photostyle.feedforward.train import TrainingSettings
from photostyle.process import device_named, prepared
