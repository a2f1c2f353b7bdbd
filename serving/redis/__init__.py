"""Streams of Redis: addresses and entries, and workers that share one (docs/delivery.md, "Shared streams")."""
