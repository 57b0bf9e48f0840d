"""Reports: pages and plain data that say how the money of a period stands.

Pure: records and documents come in, text goes out; nothing here reads a store or a clock.
"""
