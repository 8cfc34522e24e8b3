"""dlrun's plugins for Hydra."""
