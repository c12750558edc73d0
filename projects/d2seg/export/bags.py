"""Sums of gathered rows in OpenVINO's files, as deformable attention records them, in one operator:
each row is multiplied and added where it is read, and never written in between."""

from openvino import Model, Node, PartialShape, opset13
from openvino.passes import AnyInput, Manager, Matcher, MatcherPass, WrapType
from openvino.utils import replace_node


def use_bags(model: Model) -> None:
    """Replace what ``gathered_sum`` has recorded by OpenVINO's ``EmbeddingBagPackedSum``, in place.

    That takes indices of a fixed shape alone; others stay as they are.
    """
    passes = Manager()
    passes.register_pass(_BagPass())
    passes.run_passes(model)


class _BagPass(MatcherPass):
    """The sum over k of table[rows[n, k]] * weights[n, k]."""

    def __init__(self) -> None:
        super().__init__()
        gathered = WrapType("opset8.Gather")
        weights = WrapType("opset1.Unsqueeze")
        product = WrapType("opset1.Multiply", [gathered, weights])
        total = WrapType("opset1.ReduceSum", [product, AnyInput()])

        def replace(match: Matcher) -> bool:
            found = match.get_pattern_value_map()
            nodes = [found[part].get_node() for part in (gathered, weights, total)]
            if not _is_bag(*nodes):
                return False
            (table, rows), factors = nodes[0].input_values()[:2], nodes[1].input_value(0)
            bag = opset13.embedding_bag_packed_sum(table, rows, factors)
            bag.set_friendly_name(nodes[2].get_friendly_name())
            replace_node(nodes[2], bag)
            return True

        self.register_matcher(Matcher(total, "bags"), replace)


def _is_bag(gathered: Node, weights: Node, total: Node) -> bool:
    """Whether rows of a table (R, D) are gathered by indices (N, K), weighed by (N, K, 1) and
    summed over K."""
    table, rows = (gathered.input_value(i).get_partial_shape() for i in range(2))
    return (
        table.rank == rows.rank == 2
        and rows.is_static
        and weights.get_output_partial_shape(0) == PartialShape([*rows, 1])
        and total.get_output_partial_shape(0) == PartialShape([rows[0], table[1]])
    )
