"""Evaluation: metrics, calibration, out-of-fold predictions and the folds that give them."""
