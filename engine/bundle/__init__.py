"""The bundle: manifest, strict JSON and the default bundle."""
