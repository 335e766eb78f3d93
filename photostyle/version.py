"""The version, in one place: the package, its metadata and every record read it from here."""

__version__ = "0.2.0"
