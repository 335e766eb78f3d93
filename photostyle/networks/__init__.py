"""Networks that name what a picture shows: torchvision's by name, with weights from a file, the cache or a download."""
