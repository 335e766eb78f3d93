"""What the objective is made of: the terms, and the networks and distributions that they compare in."""
