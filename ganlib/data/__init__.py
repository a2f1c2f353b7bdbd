"""Data for the models: specifications, table schemas and encoders, images, and toy problems."""
