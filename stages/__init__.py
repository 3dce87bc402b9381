"""The core: typed stage functions over Arrow tables and arrays. It knows no workspace, no command line, no cluster."""
