"""One reading of data: how a column's values become what a model reads, and how generated values become a column again.

Training, estimators, batch, stream and the sealed artifact's host all read through this room, so that a value means the
same wherever it comes from. It needs numpy and pyarrow; `decode` needs pandas, and only for pandas' callers.

words     what counts as missing
extensions  periods and intervals in Parquet
layouts   numbers, dates and booleans as they are written: ``${:,.2f}``, ``%d.%m.%Y``, ``TRUE|FALSE``
arrow     frames, tables and records to Arrow columns: the one list of what is accepted
spans     durations: ``%d days %H:%M:%S``, ISO 8601
values    Arrow columns to numbers, booleans, categories and dates
decode    generated values to a column of the type and layout that training saw
"""
