"""The measured methods: one runner each."""
