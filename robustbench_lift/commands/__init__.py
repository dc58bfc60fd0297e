"""One module a command: read arguments, call the library, print."""
