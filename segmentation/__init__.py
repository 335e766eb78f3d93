"""Label maps from photographs will live here; photostyle itself never imports this package."""
