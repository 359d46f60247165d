"""Files that are whole or not there: atomic writes, tensors, the cache folder."""
