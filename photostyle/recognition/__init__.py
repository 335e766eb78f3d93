"""What a picture shows, by a classification network: published ones, and those trained for classes of one's own."""
