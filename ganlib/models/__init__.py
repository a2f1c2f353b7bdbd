"""One file per mechanism, one folder per family; a new file here is registered by itself."""
