"""What stands between a file and a session: scan, metadata, cost, interface, golden rows; once in a child process.

Every refusal is an IntegrityError without the file's name, which ``serving.artifact`` adds. Sealing keeps to the same
list of operators and to the same scan, so that what is written can be opened.
"""
