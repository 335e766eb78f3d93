"""What a picture shows, by a classification network; and such networks trained for classes of one's own."""
