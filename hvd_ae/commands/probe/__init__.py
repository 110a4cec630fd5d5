"""What a run's codes are worth: classifiers on them, beside the same on raw values and on principal components."""
