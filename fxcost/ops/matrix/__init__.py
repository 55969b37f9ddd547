"""Work of contractions."""
