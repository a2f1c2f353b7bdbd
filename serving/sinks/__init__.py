"""Where scores go: one state database holds the cursor, and for ``.db`` outputs the scores too."""
