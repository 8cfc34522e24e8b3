"""The models: one idea a file, each a class that is given the data's spec and its own settings."""
