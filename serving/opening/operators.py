"""The operators of sealed graphs: sealing writes no other, opening allows no other (docs/artifact.md, "Graph").

All shapes that these give follow from the shapes of what goes in and from constants, never from a row's values
(``serving.opening.cost`` holds a graph to that), and none of them runs a graph of its own but ``If``.
"""

ML = "ai.onnx.ml"
OPSETS = {"": 20, ML: 3}
IR_VERSION = 10

# What the registered models emit with the raw columns around them; a test exports them all and compares.
EMITTED = frozenset({
    "Abs", "Add", "And", "ArgMax", "Atanh", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Conv",
    "ConvTranspose", "Cos", "Div", "Elu", "Equal", "Erf", "Exp", "Expand", "Gather", "GatherND", "Gemm", "Greater",
    "GreaterOrEqual", "Identity", "If", "InstanceNormalization", "IsNaN", "LayerNormalization", "LeakyRelu", "Less",
    "LessOrEqual", "Log", "LogSoftmax", "MatMul", "Max", "Min", "Mod", "Mul", "Neg", "Or", "Pow", "ReduceMean",
    "ReduceMin", "ReduceSum", "Relu", "Reshape", "Round", "Shape", "Sigmoid", "Sign", "Sin", "Slice", "Softmax",
    "Softplus", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze", "Where",
})  # fmt: skip

# One value in, one value out: what a network of one's own may have as its activation.
ACTIVATIONS = frozenset({
    "Celu", "Gelu", "HardSigmoid", "HardSwish", "Mish", "PRelu", "Selu",
})  # fmt: skip

ALLOWED = {("", name) for name in EMITTED | ACTIVATIONS} | {(ML, "LabelEncoder")}
