"""NumPy arrays out of an old pickle without running anything from it: four names are known, every other is refused."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from vision_suite.errors import DataError


def load_array_pickle(contents: bytes, name: str) -> Any:
    """Lists, dictionaries, text, numbers and arrays from the bytes of a ``.npy`` file that holds one pickled object.

    Args:
        contents: Bytes of the file.
        name: Name of the file in messages.

    Raises:
        DataError: It is no such file, is damaged, or names anything but NumPy's own array builders.
    """
    stream = io.BytesIO(contents)
    try:
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(stream)
        if shape != () or not dtype.hasobject:
            raise DataError(f"{name} holds a plain array, not one pickled object")
        found = _ArrayUnpickler(stream).load()
        return found.item() if isinstance(found, np.ndarray) and found.shape == () else found
    except DataError:
        raise
    except Exception as error:  # damaged bytes make the reader fail in any way
        raise DataError(f"{name} cannot be read ({type(error).__name__}: {error})") from None


class _ArrayUnpickler(pickle.Unpickler):
    """Builds arrays and plain containers only."""

    def find_class(self, module: str, name: str) -> Any:
        """The four callables of pickled arrays."""
        found = _KNOWN.get((module.replace("numpy._core", "numpy.core"), name))
        if found is None:
            raise DataError(f"the pickle names {module}.{name}, which is no part of an array: it is refused")
        return found


def _bytes(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise DataError(f"the pickle asks for the codec {encoding!r}: it is refused")
    return text.encode("latin1")


def _array(kind: Any, shape: Any, dtype: Any) -> Any:
    """An empty array, as NumPy's own builder makes it, but of no other class."""
    if kind is not np.ndarray:
        raise DataError("the pickle builds an array of another class: it is refused")
    return np.ndarray(shape, dtype=dtype.decode() if isinstance(dtype, bytes) else dtype)


_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _bytes,
}
