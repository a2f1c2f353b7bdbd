"""Reports: pictures of what a model makes and of how it was trained."""
