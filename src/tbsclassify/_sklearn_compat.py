"""What the library uses of scikit-learn that is not public, in one place."""
