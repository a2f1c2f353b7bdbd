"""Relations between columns: finds them in data and enforces them in generated rows.

Fitted and sealed augmenters share this package, so that both enforce the same relations. It needs numpy and pyarrow.

fields       columns, their bounds, and the values that their types can represent
base         the protocol: describe, read, find, learn, broken, define, repair, seal
equation     the base of relations that compute a column: sum, product and line
order, combination
kinds        the table of kinds: reading, checking, finding
keeping      computes, resamples, repairs and counts rows
"""

from serving.table.relations.base import Relation as Relation
from serving.table.relations.combination import Combination as Combination
from serving.table.relations.fields import Field as Field
from serving.table.relations.fields import Table as Table
from serving.table.relations.keeping import Keeper as Keeper
from serving.table.relations.keeping import reject as reject
from serving.table.relations.kinds import KINDS as KINDS
from serving.table.relations.kinds import check_relations as check_relations
from serving.table.relations.kinds import find_relations as find_relations
from serving.table.relations.kinds import read_relations as read_relations
from serving.table.relations.kinds import unsealed as unsealed
from serving.table.relations.line import Line as Line
from serving.table.relations.order import Order as Order
from serving.table.relations.product import Product as Product
from serving.table.relations.sum import Sum as Sum
