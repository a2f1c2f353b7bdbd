"""Damaged and hostile files made from a sealed one; as a script, a process that opens them one after another."""

import json
import random
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from serving_data import resealed

NUMBERS = (0, 1, -1, -7, 3, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, -1e-320)
OTHERS = (None, True, False, "", "x", "\u00e9" * 50, "inf", "nan", "2026-01-01", [], {}, [[]], [None], {"a": 1})
RAW = ("", "NaN", "-Infinity", "[" * 3000, '"\\ud800"', "1" * 5000, '{"a": 1, "a": 2}', "null", "\u0000", "{}")
SIZES = (0, -1, 1, 2, 7, 1 << 20, 1 << 33, 1 << 62)
OPERATORS = (
    "Identity", "Relu", "Neg", "Exp", "Abs", "Shape", "Round", "Cast", "Transpose", "Squeeze", "Sign", "Concat",
    "MatMul", "Expand", "Where", "Loop", "SequenceMap", "NonZero", "Range", "ConstantOfShape", "Tile", "Evil",
)  # fmt: skip


def mutated(data, rng):
    """Another file: a few bytes changed, or one to three changes to the model with its hashes made again."""
    if rng.random() < 0.25:
        return _bytes(data, rng)
    model = onnx.load_model_from_string(data)
    try:
        for _ in range(rng.choice((1, 1, 2, 3))):
            rng.choice(_CHANGES)(model, rng)
        return resealed(model)
    except (
        ValueError,
        TypeError,
        IndexError,
        RecursionError,
    ):  # an earlier change left nothing to change
        return _bytes(data, rng)


def _bytes(data, rng):
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(out))
        how = rng.randrange(4)
        if how == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            del out[at : at + rng.choice((1, 2, 100))]
        elif how == 2:
            out[at:at] = rng.randbytes(rng.choice((1, 4)))
        else:
            out[at : at + 4] = b"\xff\xff\xff\x7f"
        if len(out) < 100:
            break
    return bytes(out)


def _places(value, path=()):
    """Paths to all values of a JSON value."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from _places(part, (*path, key))


def _metadata(model, rng):
    entry = rng.choice(list(model.metadata_props))
    try:
        value = json.loads(entry.value)
    except ValueError:
        return
    # Short paths are few: they are chosen as often as the many long ones.
    by_length = {}
    for path in _places(value):
        by_length.setdefault(len(path), []).append(path)
    path = rng.choice(by_length[rng.choice(list(by_length))])
    if not path:
        entry.value = json.dumps(rng.choice((*NUMBERS, *OTHERS)))
        return
    within = value
    for key in path[:-1]:
        within = within[key]
    how, key = rng.randrange(5), path[-1]
    if how == 0:
        del within[key]
    elif how == 1 and isinstance(within, dict):
        within[f"{key}_"] = within.pop(key)
    elif how == 2 and isinstance(within, list):
        within.append(within[key])
    elif how == 3 and isinstance(within[key], int | float):
        within[key] = within[key] * rng.choice((-1, 0.5, 1.5, 1e6))
    else:
        within[key] = rng.choice((*NUMBERS, *OTHERS))
    entry.value = json.dumps(value)


def _raw(model, rng):
    entry = rng.choice(list(model.metadata_props))
    how = rng.randrange(4)
    if how == 0:
        model.metadata_props.remove(entry)
    elif how == 1:
        entry.key = entry.key + "_"
    elif how == 2:
        model.metadata_props.append(entry)
    else:
        entry.value = rng.choice(RAW)


def _graphs(model):
    yield model.graph
    for node in model.graph.node:
        yield from (a.g for a in node.attribute if a.HasField("g"))


def _node(model, rng):
    graph = rng.choice(list(_graphs(model)))
    if not graph.node:
        return
    node = rng.choice(list(graph.node))
    how = rng.randrange(5)
    if how == 0:
        graph.node.remove(node)
    elif how == 1:
        node.op_type = rng.choice(OPERATORS)
    elif how == 2 and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice([*rng.choice(graph.node).output, "", "nothing"])
    elif how == 3 and node.output:
        node.output[0] = rng.choice([*rng.choice(graph.node).output, node.output[0] + "_"])
    else:
        graph.node.append(node)


def _attribute(model, rng):
    nodes = [n for g in _graphs(model) for n in g.node if n.attribute]
    attribute = rng.choice(rng.choice(nodes).attribute)
    how = rng.randrange(4)
    if how == 0:
        attribute.i = rng.choice((0, -1, 7, 2**40, -(2**63)))
    elif how == 1 and attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice((0, -1, 3, 2**40))
    elif how == 2:
        attribute.type = rng.randrange(15)
    else:
        attribute.name = rng.choice(("axis", "to", "perm", "value", "keepdims", "then_branch"))


def _tensor(model, rng):
    tensors = [t for g in _graphs(model) for t in g.initializer]
    tensor = rng.choice(tensors)
    how = rng.randrange(5)
    if how == 0 and tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(SIZES)
    elif how == 1:
        tensor.data_type = rng.randrange(24)
    elif how == 2:
        values = numpy_helper.to_array(tensor) if tensor.raw_data and tensor.data_type in (1, 7, 11) else None
        if values is not None and values.size:
            made = values.copy()
            made.flat[rng.randrange(values.size)] = rng.choice(SIZES) if values.dtype == np.int64 else rng.choice(
                (0.0, np.nan, np.inf, -1e30)
            )  # fmt: skip
            tensor.CopyFrom(numpy_helper.from_array(made, tensor.name))
    elif how == 3:
        tensor.raw_data = tensor.raw_data[: len(tensor.raw_data) // 2]
    else:
        tensor.name = rng.choice(tensors).name


def _port(model, rng):
    port = rng.choice([*model.graph.input, *model.graph.output])
    tensor, how = port.type.tensor_type, rng.randrange(5)
    if how == 0:
        port.name = rng.choice((port.name + "_", "alpha", "x"))
    elif how == 1:
        tensor.elem_type = rng.randrange(24)
    elif how == 2 and tensor.shape.dim:
        rng.choice(tensor.shape.dim).dim_value = rng.choice(SIZES)
    elif how == 3:
        tensor.shape.dim.add(dim_param="more")
    else:
        (model.graph.input if rng.random() < 0.5 else model.graph.output).append(port)


def _insert(model, rng):
    """A costly node between two others."""
    graph = model.graph
    node = rng.choice([n for n in graph.node if n.input])
    at = list(graph.node).index(node)
    place, source = rng.randrange(len(node.input)), node.input[0]
    size = numpy_helper.from_array(np.array([rng.choice((2, 100, 10**5, 10**9))] * rng.choice((1, 2, 3))), "grown/size")
    graph.initializer.append(size)
    kind = rng.choice(("Expand", "Reshape", "MatMul", "Concat", "Tile", "ConstantOfShape"))
    inputs = {"MatMul": [source, source], "Concat": [source] * 50, "ConstantOfShape": ["grown/size"]}
    made = helper.make_node(kind, inputs.get(kind, [source, "grown/size"]), ["grown"], axis=0)
    if kind != "Concat":
        del made.attribute[:]
    node.input[place] = "grown"
    graph.node.insert(at, made)


_CHANGES = (_metadata, _metadata, _metadata, _raw, _node, _node, _attribute, _tensor, _tensor, _port, _insert)


def wide_feeds(opened):
    """As many rows as may be explained, or generated, whatever they mean."""
    session, checked, rows, made = opened.session, opened.checked, opened.explained_rows or opened.rows, {}
    kinds = {"tensor(string)": object, "tensor(float)": np.float32, "tensor(double)": float, "tensor(int64)": np.int64}
    kinds["tensor(uint8)"] = np.uint8
    for port in session.get_inputs():
        shape = (rows, *port.shape[1:])
        filled = "a" if port.type == "tensor(string)" else 1
        made[port.name] = np.full(shape, filled, dtype=kinds[port.type])
    if getattr(checked, "conditions", None):
        made["condition"] = np.full(rows, checked.conditions[0], dtype=object)
    return made | ({"explain": np.array(True)} if opened.explained_rows else {})


def numbered(path, data, number):
    """A mutation of a file by its number."""
    return mutated(data, random.Random(f"{path.rsplit('/', 1)[-1]} {number}"))


def main(path, first, count):
    """Open mutations ``first`` to ``first + count``; prints each number before, and what came of it after."""

    from serving.errors import ServingError
    from serving.opening.child import _bound
    from serving.opening.scan import Limits
    from serving.opening.session import run
    from serving.opening.whole import examine

    data, limits = open(path, "rb").read(), Limits()  # noqa: SIM115
    _bound(Limits(seconds=100_000), len(data))
    for number in range(first, first + count):
        changed = numbered(path, data, number)
        print(number, end=" ", flush=True)
        try:
            opened = examine(changed, limits)
            names = [o.name for o in opened.session.get_outputs()]
            feeds = wide_feeds(opened)
            run(opened.session, names, feeds)
            print("opened")
        except ServingError as error:
            print(type(error).__name__)
            if not str(error).strip():
                raise
    # Not ru_maxrss, which starts with the size of the process that started this one.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print("peak", status["VmHWM"].split()[0])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
