"""Masks from photographs: `make.make_masks` tells the story. It writes what photostyle.files.masks reads."""
