"""The version, for the metadata of the package, the command line and all that is written to files."""

__version__ = "0.1.0"
