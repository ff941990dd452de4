"""INT8: calibration, quantisation and the accuracy gate."""
