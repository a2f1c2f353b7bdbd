"""CVAE-GAN and its relatives: autoencoders with a critic."""
