"""Photographs in many styles with one pass of a network: the network, its training, and what it made."""
