"""Tools that read and change the files of a run, and nothing outside of its folder."""
