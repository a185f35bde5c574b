"""HDF5 files in all the forms that h5py writes, with the values that they hold. Needs h5py and numpy.

    python hdf5.py             writes hdf5.json and weights/hdf5/
"""
import json
import pathlib
import h5py
import numpy as np

here = pathlib.Path(__file__).parent
folder = here / "weights" / "hdf5"
folder.mkdir(exist_ok=True)


def ramp(shape, dtype="<f4", step=1):
    n = int(np.prod(shape))
    return (np.arange(n) * step % 251).astype(dtype).reshape(shape)


def fill(f):
    """What both forms of the format have."""
    x = ramp((7, 5), step=3)
    f["plain"] = x
    f.create_dataset("gzip", data=x, chunks=(3, 2), compression="gzip")
    f.create_dataset("shuffled", data=x, chunks=(3, 2), compression="gzip", shuffle=True, fletcher32=True)
    f.create_dataset("summed", data=ramp((3, 3), "u1"), chunks=(2, 3), fletcher32=True)
    f.create_dataset("lzf", data=ramp((400,), "<i4"), chunks=(100,), compression="lzf", shuffle=True)
    f.create_dataset("chunks", data=ramp((5, 3, 2), "<f8"), chunks=(2, 2, 2))
    part = f.create_dataset("filled", (6, 6), "<f4", chunks=(2, 4), fillvalue=-1.5)
    part[2:4, 3:5] = 2
    f.create_dataset("untouched", (2, 2), "<i4", fillvalue=9)
    f.create_dataset("zeros", (3,), "<f4")
    grown = f.create_dataset("grown", data=ramp((4, 4)), chunks=(3, 3), maxshape=(None, 10))
    grown.resize((6, 2))
    for t in ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]:
        for order in "<>":
            f["types/" + t + ("l" if order == "<" else "b")] = np.array([0, 1, 100]).astype(order + t)
    f["types/bool"] = np.array([True, False])
    f.create_dataset("types/enum", data=np.array([1, 3], "<i2"), dtype=h5py.enum_dtype({"A": 1, "B": 3}, "<i2"))
    f["scalar"] = np.float32(2.5)
    f["empty"] = np.zeros((0, 3), "<f4")
    f["nothing"] = h5py.Empty("<f4")
    f["text"] = "no numbers"
    f["record"] = np.zeros(2, [("a", "<i4"), ("b", "<f4")])
    f["type"] = np.dtype("<f4")
    f.create_dataset("of type", data=ramp((3,)), dtype=f["type"])
    f["again/x"] = f["plain"]
    f["soft"] = h5py.SoftLink("/plain")
    f["nowhere"] = h5py.SoftLink("/no/such")
    f["elsewhere"] = h5py.ExternalLink("other.h5", "/x")
    f.create_group("hollow")
    tree = f.create_group("layers/dense/vars")
    tree.attrs["name"] = "head"
    tree["0"] = ramp((2, 2))
    many = f.create_group("many")
    for i in range(12):
        many.attrs[f"attribute {i}"] = i
    many.attrs["name"] = "many"
    for i in range(24):
        many[f"member number {i}"] = np.float32(i)


def latest(f):
    """Indexes of chunks that only the newer form has."""
    f.create_dataset("single", data=ramp((3, 4)), chunks=(3, 4))
    f.create_dataset("single gzip", data=ramp((3, 4)), chunks=(3, 4), compression="gzip")
    f.create_dataset("single padded", data=ramp((3, 4)), chunks=(8, 8), maxshape=(8, 8), compression="gzip")
    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_chunk((2, 3))
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    space = h5py.h5s.create_simple((5, 7))
    h5py.Dataset(h5py.h5d.create(f.id, b"implicit", h5py.h5t.IEEE_F32LE, space, early))[:] = ramp((5, 7))
    f.create_dataset("fixed", data=ramp((9, 4)), chunks=(2, 3))
    f.create_dataset("fixed gzip", data=ramp((9, 4)), chunks=(2, 3), compression="gzip")
    f.create_dataset("extensible", data=ramp((70, 2)), chunks=(1, 2), maxshape=(None, 2))
    f.create_dataset("extensible gzip", data=ramp((30, 3)), chunks=(2, 2), maxshape=(None, 3), compression="gzip")
    f.create_dataset("tree", data=ramp((9, 5)), chunks=(2, 2), maxshape=(None, None))
    f.create_dataset("tree gzip", data=ramp((40, 40), "u1"), chunks=(1, 3), maxshape=(None, None), compression="gzip")
    names = f.create_group("names", track_order=True)
    for i in range(150):
        names["a rather long name of a member, so that its heap has rows %d" % (i * 7919 % 150)] = h5py.SoftLink("/x")
    names["last"] = np.float32(1)
    for i in range(9):
        names.attrs["attribute %d" % i] = i
    names.attrs["name"] = np.bytes_("of fixed length")


def pages(f):
    """Long indexes, which have pages."""
    paged = f.create_dataset("pages", (2500,), "u1", chunks=(1,))
    for i in [0, 5, 1023, 1024, 2499]:
        paged[i] = i % 200 + 1
    paged = f.create_dataset("pages gzip", (1500,), "u1", chunks=(1,), compression="gzip", fillvalue=7)
    paged[1100] = 3
    long = f.create_dataset("long", (140000,), "u1", chunks=(1,), maxshape=(None,))
    for i in [0, 3, 4, 19, 20, 100, 1000, 5000, 20000, 131075, 131076, 132100, 139999]:
        long[i] = i % 200 + 1


def entries(path):
    found = {}

    def visit(prefix, group):
        for key in group:
            if group.get(key, getlink=True).__class__ is not h5py.HardLink:
                continue
            thing, name = group[key], prefix + key
            if isinstance(thing, h5py.Group):
                visit(name + "/", thing)
            elif isinstance(thing, h5py.Dataset) and thing.shape is not None and thing.dtype.kind in "fiub":
                values = np.asarray(thing[()], "f8").ravel()
                most = thing.fillvalue if thing.size > 300 else None
                entry = {"dims": list(thing.shape)}
                if most is None:
                    entry["values"] = values.tolist()
                else:
                    entry["all"] = float(most)
                    entry["except"] = [[int(i), float(values[i])] for i in np.nonzero(values != most)[0]]
                found[name] = entry

    with h5py.File(path) as f:
        visit("", f)
    return found


result = {}
for name, options, makers in [
    ("earliest.h5", dict(libver="earliest"), [fill]),
    ("v108.h5", dict(libver=("v108", "v108")), [fill]),
    ("v110.h5", dict(libver=("v110", "v110")), [fill]),
    ("latest.h5", dict(libver="latest", track_order=True), [fill]),
    ("indexes.h5", dict(libver="latest"), [latest]),
    ("pages.h5", dict(libver="latest"), [pages]),
    ("block.h5", dict(userblock_size=1024), [lambda f: f.create_dataset("x", data=ramp((3,)))]),
]:
    with h5py.File(folder / name, "w", **options) as f:
        for maker in makers:
            maker(f)
    result[name] = entries(folder / name)
# Small files that would become large, or never end.
with h5py.File(folder / "bomb-fill.h5", "w", libver="latest") as f:
    for i in range(8):
        f.create_dataset(str(i), (4096, 4096), "<f4", chunks=(512, 512))
with h5py.File(folder / "bomb-links.h5", "w", libver="latest") as f:
    group = f
    for i in range(24):
        below = group.create_group("a rather long name of a group, so that paths are long")
        group["b" * 60] = below
        group = below
    group["x"] = np.float32(1)
with h5py.File(folder / "circle.h5", "w") as f:
    f.create_group("a")["b"] = f["/"]
(here / "hdf5.json").write_text("{\n" + ",\n".join(json.dumps(k) + ":" + json.dumps(v, separators=(",", ":")) for k, v in result.items()) + "\n}\n")
