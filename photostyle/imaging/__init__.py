"""Pictures as tensors: filters, the matting Laplacian, lightness, rendering at the photo's own size."""
