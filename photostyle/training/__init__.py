"""What any training needs and no task owns: state, pictures of a folder and their order, progress, curves, records."""
