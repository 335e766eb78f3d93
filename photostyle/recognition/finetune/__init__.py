"""Fine-tuning: a classification network learns the classes of a folder, of CIFAR-10 or of handwritten digits."""
