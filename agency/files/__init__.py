"""The files of runs: contents by their hash, and workspaces made of them."""
