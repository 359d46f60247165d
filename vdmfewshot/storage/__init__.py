"""Files that are whole or not there: atomic writes, tensors, strict reading, plain errors, the cache folder."""
