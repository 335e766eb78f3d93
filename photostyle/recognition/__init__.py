"""What a network sees in a picture, and how much of the photo's classes its result keeps."""
