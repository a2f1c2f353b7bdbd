"""The checks before a file becomes a session: scan, metadata, cost, interface and golden rows.

Each failed check raises IntegrityError without the file's name, which ``serving.artifact`` adds. Sealing applies the
same operator list and the same scan, so that every sealed file can be opened.
"""
