"""One module for each subcommand, each with `main(argv) -> exit code`."""
