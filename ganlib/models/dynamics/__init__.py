"""Behaviour and dynamics."""
