"""The command line: `main` chooses between the commands of `receiver` and of `sender`."""
