"""Data: records, data sets, splits by patient, tasks and the cache of decoded images."""
