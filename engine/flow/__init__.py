"""Flow fields: file formats, colour coding and metrics."""
