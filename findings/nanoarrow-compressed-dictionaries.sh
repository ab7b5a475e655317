#!/usr/bin/env bash
# Guess: nanoarrow reads an Arrow stream with dictionaries right or says that it cannot; compression makes no difference.
# Is:    it reads compressed columns, and dictionaries, but the values of a dictionary in a compressed stream are taken as
#        they lie there: a small dictionary of numbers comes out as other numbers without an error (its first one is the
#        length that stands before compressed bytes). A larger one raises, because its buffer seems too short.
# Seen:  nanoarrow 0.9.0 with streams of pyarrow 26.0.1 (zstd and lz4), 2026-12-01; polars 2.1.0 and arro3 read them right.
# Matters because exports are written compressed and with dictionaries, as Arrow's own writers do: a check that reads them by
#        another library than wrote them must compare values, not only that it could read.
. "$(dirname "$0")/lab/lab.bash"
packages nanoarrow==0.9.0 pyarrow==26.0.1
claims <<'END'
import io

import nanoarrow
import pyarrow
from lab import same
from pyarrow import ipc


def stream(array, compression):
    batch = pyarrow.record_batch({"value": array})
    sink = pyarrow.BufferOutputStream()
    with ipc.new_stream(sink, batch.schema, options=ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write(batch)
    return sink.getvalue().to_pybytes()


def by_nanoarrow(data):
    batches = nanoarrow.ArrayStream.from_readable(io.BytesIO(data)).read_all()
    return [row["value"] for row in batches.to_pylist()]


def by_pyarrow(data):
    return ipc.open_stream(data).read_all()["value"].to_pylist()


numbers = pyarrow.array([10, 11], pyarrow.int64())
coded = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0, 1], pyarrow.int32()), numbers)
same("numbers, zstd", by_nanoarrow(stream(numbers, "zstd")), [10, 11])
same("dictionary, not compressed", by_nanoarrow(stream(coded, None)), [10, 11])
for compression in ("zstd", "lz4"):
    data = stream(coded, compression)
    same(f"dictionary, {compression}, by pyarrow", by_pyarrow(data), [10, 11])
    seen = by_nanoarrow(data)
    same(f"dictionary, {compression}, by nanoarrow: the first value", seen[0], 16)
    same("its values are those that were written", seen == [10, 11], False)
END
