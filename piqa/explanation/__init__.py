"""Why a model gives an image its score: what each branch adds, which places the score hangs on, how two images differ.

`explainer.Explainer` explains the scores of a `Scorer`. `difference.compare_factors` tells two images apart without a
model. All values are in units of the score, which has a meaning only within a scene: every one is a difference, to the
other images of the scene, to the same image with a place blurred, or to another image.
"""
