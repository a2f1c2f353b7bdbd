"""Relations between columns: what they are, where they hold, and how generated rows are made to keep them.

Fitted augmenters and sealed ones share this room, so that both keep the same. It needs numpy and pyarrow.

fields       columns as relations see them, and the values that their types can write
base         the protocol: describe, read, find, learn, broken, define, repair, seal
equation     what relations that compute a column share; sum, product and line are three
order, combination
kinds        the table of kinds: reading, checking, finding
keeping      rows computed, sampled again, repaired and counted
"""

from serving.table.relations.base import Relation as Relation
from serving.table.relations.combination import Combination as Combination
from serving.table.relations.fields import Field as Field
from serving.table.relations.fields import Table as Table
from serving.table.relations.keeping import Keeper as Keeper
from serving.table.relations.keeping import refuse as refuse
from serving.table.relations.kinds import KINDS as KINDS
from serving.table.relations.kinds import check_relations as check_relations
from serving.table.relations.kinds import find_relations as find_relations
from serving.table.relations.kinds import read_relations as read_relations
from serving.table.relations.kinds import unsealed as unsealed
from serving.table.relations.line import Line as Line
from serving.table.relations.order import Order as Order
from serving.table.relations.product import Product as Product
from serving.table.relations.sum import Sum as Sum
