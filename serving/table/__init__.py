"""Converts column values to model inputs, and generated values back to columns.

Training, estimators, batch, stream and sealed artifacts all read data with this package, so that a value always has the
same meaning. It needs numpy and pyarrow; only `decode` needs pandas.

words       the words for missing values
extensions  periods and intervals in Parquet
layouts     text formats of numbers, dates and booleans: ``${:,.2f}``, ``%d.%m.%Y``, ``TRUE|FALSE``
arrow       frames, tables and records to Arrow columns; lists the accepted types
spans       durations: ``%d days %H:%M:%S``, ISO 8601
values      Arrow columns to numbers, booleans, categories and dates
decode      generated values to columns of the training table's types and layouts
"""
