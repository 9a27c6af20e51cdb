"""The ``magnet`` command, one module a subcommand."""
