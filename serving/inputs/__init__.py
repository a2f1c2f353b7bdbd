"""Reads tables from files, folders, globs and URLs behind one interface.

``list_inputs`` finds the files of a location. Each ``Input`` knows its columns, counts its rows and yields them as
Arrow tables. There is one module per format: ``delimited.py`` (CSV, TSV), ``jsonlines.py`` and ``parquet.py``.
"""

from serving.inputs.base import Broken as Broken
from serving.inputs.base import Input as Input
from serving.inputs.base import Piece as Piece
from serving.inputs.base import Reading as Reading
from serving.inputs.delimited import check_separator as check_separator
from serving.inputs.listing import list_inputs as list_inputs
from serving.inputs.listing import place_date as place_date
