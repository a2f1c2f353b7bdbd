"""Toy problems whose levels are judged here: what a level must not fall for."""

import torch

from ganlib.testing.problems import blobs_agree, twin_blobs


def test_blobs_agree_beyond_chance():
    images = twin_blobs(400, 0)
    assert blobs_agree(images) > 0.98
    # Each upper half from another image.
    strangers = torch.cat([images.flip(0)[..., :8, :], images[..., 8:, :]], 2)
    assert abs(blobs_agree(strangers)) < 0.15
    # One image over and over agrees with itself, and shows nothing.
    assert blobs_agree(images[:1].expand(50, -1, -1, -1)) == 0
