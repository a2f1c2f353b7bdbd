"""The operators of sealed graphs. Sealing writes no others, and opening allows no others (docs/artifact.md, "Graph").

Their output shapes follow from input shapes and constants, never from a row's values (``serving.opening.cost`` enforces
this). Only ``If`` contains subgraphs.
"""

ML = "ai.onnx.ml"
OPSETS = {"": 20, ML: 3}
IR_VERSION = 10

# The operators of the registered models and of the raw columns; a test exports all models and compares.
EMITTED = frozenset({
    "Abs", "Add", "And", "ArgMax", "Atanh", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Conv",
    "ConvTranspose", "Cos", "Div", "Elu", "Equal", "Erf", "Exp", "Expand", "Gather", "GatherND", "Gemm", "Greater",
    "GreaterOrEqual", "Identity", "If", "InstanceNormalization", "IsNaN", "LayerNormalization", "LeakyRelu", "Less",
    "LessOrEqual", "Log", "LogSoftmax", "MatMul", "Max", "Min", "Mod", "Mul", "Neg", "Or", "Pow", "ReduceMean",
    "ReduceMin", "ReduceSum", "Relu", "Reshape", "Round", "Shape", "Sigmoid", "Sign", "Sin", "Slice", "Softmax",
    "Softplus", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze", "Where",
})  # fmt: skip

# Elementwise operators that a custom network may use as activations.
ACTIVATIONS = frozenset({
    "Celu", "Gelu", "HardSigmoid", "HardSwish", "Mish", "PRelu", "Selu",
})  # fmt: skip

ALLOWED = {("", name) for name in EMITTED | ACTIVATIONS} | {(ML, "LabelEncoder")}
