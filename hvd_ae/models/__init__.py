"""Models, and what makes any Keras model a function of one flat vector."""
