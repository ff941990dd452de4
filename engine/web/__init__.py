"""The browser page: its files, and a server for them. The page itself is in ``page/``."""
