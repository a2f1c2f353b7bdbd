"""Reports: pictures of generated samples and of training."""
