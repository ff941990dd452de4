"""The flow of thousands of clips, in shards that survive an interruption. Needs the extra `bulk`.

From clips to a finished extraction: `plan.py` decides the shards, `extraction.py` has its folder,
`cluster.py` gives each shard to a `worker.py`, where `shard.py` checks it, or computes it by
`formats.py`; `reader.py` reads the result. Only `cluster.py` knows Ray.
"""
