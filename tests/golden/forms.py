"""Files in all the forms that torch.save has or had, with the values that they hold, without PyTorch: a pickle names functions
and classes of `torch`, which stand-ins of the same names are enough for. The names, arguments and layouts are those of
torch/_utils.py, torch/_tensor.py and torch/serialization.py of PyTorch 2.9.

    python forms.py             writes forms.json and weights/forms/
"""
import collections
import io
import json
import pathlib
import pickle
import struct
import sys
import types
import zipfile

here = pathlib.Path(__file__).parent
folder = here / "weights" / "forms"
folder.mkdir(exist_ok=True)


def module(name):
    parent, _, last = name.rpartition(".")
    sys.modules[name] = types.ModuleType(name)
    if parent:
        setattr(sys.modules[parent], last, sys.modules[name])
    return sys.modules[name]


def function(name):
    """A function that is known by its name alone."""
    where, _, last = name.rpartition(".")
    def stand_in(*_): raise NotImplementedError
    stand_in.__module__, stand_in.__qualname__, stand_in.__name__ = where, last, last
    setattr(sys.modules[where], last, stand_in)
    return stand_in


for name in ["torch", "torch._utils", "torch._tensor", "torch.storage", "mine"]:
    module(name)
rebuild = {n: function("torch._utils._rebuild_" + n) for n in [
    "tensor", "tensor_v2", "tensor_v3", "parameter", "parameter_with_state", "sparse_tensor"]}
from_type = function("torch._tensor._rebuild_from_type_v2")


def class_of(name):
    where, _, last = name.rpartition(".")
    found = type(last, (), {"__module__": where})
    setattr(sys.modules[where], last, found)
    return found


classes = {n: class_of("torch." + n + "Storage") for n in [
    "Half", "BFloat16", "Float", "Double", "Char", "Short", "Int", "Long", "Byte", "Bool", "ComplexFloat"]}
classes["Untyped"] = class_of("torch.storage.UntypedStorage")
subclass = class_of("mine.Quantity")


class DType:
    def __init__(self, name): self.name = name
    # As torch.dtype: its own name, in the module that has it.
    def __reduce__(self): return self.name
    __module__ = "torch"


for name in ["uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2"]:
    setattr(sys.modules["torch"], name, DType(name))


class Storage:
    def __init__(self, kind, code, values):
        self.kind, self.values = kind, values
        self.data = struct.pack("<%d%s" % (len(values), code), *values) if code else bytes(values)


class Call:
    def __init__(self, function, *arguments): self.call = (function, arguments)
    def __reduce__(self): return self.call


def contiguous(dims):
    strides, step = [], 1
    for d in reversed(dims):
        strides.insert(0, step)
        step *= d
    return tuple(strides)


def tensor(storage, dims, strides=None, offset=0, version="tensor_v2", extra=()):
    arguments = (storage, offset, tuple(dims), contiguous(dims) if strides is None else strides)
    if version != "tensor":
        arguments += (False, collections.OrderedDict()) + extra
    return Call(rebuild[version], *arguments)


def new(dtype, storage, dims):
    return tensor(storage, dims, version="tensor_v3", extra=(getattr(sys.modules["torch"], dtype),))


shared = Storage("Float", "f", [1.5, -2.0, 0.25, 4.0, 5.0, 6.0])
matrix = tensor(shared, [2, 3])
hooks = collections.OrderedDict()
state = collections.OrderedDict(
    plain=matrix,
    transposed=tensor(shared, [3, 2], (1, 3)),
    row=tensor(shared, [3], (1,), 3),
    expanded=tensor(shared, [3, 2], (0, 1), 1),
    first=tensor(shared, [2], (1,), version="tensor"),
    parameter=Call(rebuild["parameter"], tensor(shared, [2], (3,)), True, hooks),
    stateful=Call(rebuild["parameter_with_state"], tensor(shared, [2], (1,), 4), True, hooks, {"kept": 1}),
    subclass=Call(from_type, rebuild["tensor_v2"], subclass, matrix.call[1], {"unit": "m"}),
    wrapped=Call(from_type, rebuild["parameter"], subclass, (tensor(shared, [1, 2]), True, hooks), {}),
    half=tensor(Storage("Half", "e", [0.5, 65504.0]), [2]),
    bfloat16=tensor(Storage("BFloat16", "H", [0x3fc0, 0xc000]), [2]),
    double=tensor(Storage("Double", "d", [1 / 3]), []),
    char=tensor(Storage("Char", "b", [-5]), [1]),
    short=tensor(Storage("Short", "h", [-300]), [1]),
    int=tensor(Storage("Int", "i", [-70000]), [1]),
    long=tensor(Storage("Long", "q", [-3, 2**31 - 1]), [2]),
    byte=tensor(Storage("Byte", "B", [0, 255]), [2]),
    bool=tensor(Storage("Bool", "B", [1, 0]), [2]),
    empty=tensor(Storage("Float", "f", []), [0, 3]),
)
expected = {
    "plain": ([2, 3], [1.5, -2, .25, 4, 5, 6]), "transposed": ([3, 2], [1.5, 4, -2, 5, .25, 6]), "row": ([3], [4, 5, 6]),
    "expanded": ([3, 2], [-2, .25] * 3), "first": ([2], [1.5, -2]), "parameter": ([2], [1.5, 4]), "stateful": ([2], [5, 6]),
    "subclass": ([2, 3], [1.5, -2, .25, 4, 5, 6]), "wrapped": ([1, 2], [1.5, -2]), "half": ([2], [.5, 65504]),
    "bfloat16": ([2], [1.5, -2]), "double": ([], [1 / 3]), "char": ([1], [-5]), "short": ([1], [-300]), "int": ([1], [-70000]),
    "long": ([2], [-3, 2**31 - 1]), "byte": ([2], [0, 255]), "bool": ([2], [1, 0]), "empty": ([0, 3], []),
}
newer = {
    "uint16": new("uint16", Storage("Untyped", "H", [1, 65535]), [2]),
    "uint32": new("uint32", Storage("Untyped", "I", [2**32 - 1]), [1]),
    "uint64": new("uint64", Storage("Untyped", "Q", [7]), [1]),
    "e4m3": new("float8_e4m3fn", Storage("Untyped", "", [0x38, 0xfe, 0x01]), [3]),
    "e5m2": new("float8_e5m2", Storage("Untyped", "", [0x3c, 0xc0, 0x7b]), [3]),
}
expected_newer = {
    "uint16": ([2], [1, 65535]), "uint32": ([1], [2**32 - 1]), "uint64": ([1], [7]), "e4m3": ([3], [1, -448, 2**-9]),
    "e5m2": ([3], [1, -2, 57344]),
}


class Thing:
    def __init__(self): self.a, self.b = 1, [2]
    def __getstate__(self): return {"a": self.a}


class Named:
    """Made with arguments by name: NEWOBJ_EX."""
    def __new__(cls, *, size): return super().__new__(cls)
    def __getnewargs_ex__(self): return (), {"size": 3}


for c in [Thing, Named]:
    c.__module__ = "mine"
    setattr(sys.modules["mine"], c.__name__, c)

# What else a checkpoint may hold.
beside = {
    "umlaut \u00fc": 1, "set": {1, "two"}, "frozen": frozenset([3, 4.5]), "bytes": b"\0\xff" * 3, "array": bytearray(b"abc" * 100), "none": None,
    "flags": [True, False], "long": 2**40, "longer": -2**70, "longest": 1 << 3000, "float": -0.5, "text": "quote ' \" \\ \n ü 漢 \U0001f600",
    "thing": Thing(), "complex": 1j, "range": range(3), "empty": [(), [], {}, set()], "nested": ((1, (2, (3, 4, 5, 6))), {"deep": {"er": 1}}),
}
checkpoint = {
    "model": state, "optimizer": {"state": {0: {"step": 7, "mean": matrix}, 1: {"mean": state["row"]}}, "groups": [{"lr": 0.1, "params": [0, 1]}]},
    "beside": beside, True: state["char"], "list": [matrix, (state["row"],)], "caf\u00e9 \u6f22": state["row"],
}

class Pickler(pickle._Pickler):
    def __init__(self, file, protocol, older):
        super().__init__(file, protocol)
        self.keys, self.older = {}, older

    def persistent_id(self, thing):
        if not isinstance(thing, Storage):
            return None
        key = self.keys.setdefault(id(thing), (str(len(self.keys) + 100 * self.older), thing))[0]
        return ("storage", classes[thing.kind], key, "cpu", len(thing.values)) + ((None,) if self.older else ())


def pickled(thing, protocol, older=False):
    out = io.BytesIO()
    pickler = Pickler(out, protocol, older)
    pickler.dump(thing)
    return out.getvalue(), pickler.keys.values()


def new_file(name, thing, protocol=2):
    code, storages = pickled(thing, protocol)
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("archive/data.pkl", code)
        archive.writestr("archive/byteorder", "little")
        for key, storage in storages:
            archive.writestr("archive/data/" + key, storage.data)
        archive.writestr("archive/version", "3\n")


def old_file(name, thing, protocol=2):
    info = dict(protocol_version=1001, little_endian=True, type_sizes=dict(short=2, int=4, long=4))
    code, storages = pickled(thing, protocol, True)
    parts = [pickle.dumps(x, protocol) for x in [0x1950a86a20f9469cfc6c, 1001, info]] + [code]
    parts.append(pickle.dumps(sorted(key for key, _ in storages), protocol))
    for _, storage in sorted(storages, key=lambda s: s[0]):
        parts += [struct.pack("<q", len(storage.values)), storage.data]
    (folder / name).write_bytes(b"".join(parts))


def entries(values):
    return {name: {"dims": dims, "values": numbers} for name, (dims, numbers) in values.items()}


whole = {"model." + k: v for k, v in expected.items()} | {
    "optimizer.state.0.mean": expected["plain"], "optimizer.state.1.mean": expected["row"], "True": expected["char"],
    "list.0": expected["plain"], "list.1.0": expected["row"], "caf\u00e9 \u6f22": expected["row"]}
result = {}
for protocol in range(6):
    beside["named"] = Named(size=3) if protocol >= 2 else None
    new_file(f"new{protocol}.pt", checkpoint, protocol)
    result[f"new{protocol}.pt"] = entries(whole)
for protocol in [0, 2, 5]:
    beside["named"] = None
    old_file(f"old{protocol}.pt", checkpoint, protocol)
    result[f"old{protocol}.pt"] = entries(whole)
new_file("dtypes.pt", newer)
result["dtypes.pt"] = entries(expected_newer)
new_file("complex.pt", {"fine": matrix, "wave": tensor(Storage("ComplexFloat", "ff"[:1], [1.0]), [1])})
new_file("sparse.pt", {"fine": matrix, "graph": Call(rebuild["sparse_tensor"], "torch.sparse_coo", (matrix, matrix, (2, 3)))})
new_file("negative.pt", {"view": tensor(shared, [2], (1,), extra=({"neg": True, "conj": False},))})
(here / "forms.json").write_text(json.dumps(result, separators=(",", ":")) + "\n")
