"""Settings for two photographs: many trials at low resolution, kept in a study."""
