"""One training loop for both stages: an objective says what is learnt, this package how.

The loop knows no model, no data set and no tracking server: it takes an `Objective`, a `World`, a `WorkFolder` for its
checkpoints and a `Context` with tracker and stop signal, so that other runtimes plug in from outside.
"""
