"""Exported usage: exact reading of Microsoft's daily rated usage files, in SQL over the files."""
