"""Results as a terminal table and as an HTML page."""
