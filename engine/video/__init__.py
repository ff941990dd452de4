"""Video files: reading frames, writing colour videos of their flow. Needs the extra ``video``."""
