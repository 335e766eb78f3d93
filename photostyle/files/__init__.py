"""Files: pictures, colour profiles, masks and their legends, and writing whole or not at all."""
