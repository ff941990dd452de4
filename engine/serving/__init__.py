"""``flow serve``: an engine behind the Open Inference Protocol, on one machine."""
