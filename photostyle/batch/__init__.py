"""Many photographs at once: which there are, what is still to be made, one look for all, and the page of them."""
