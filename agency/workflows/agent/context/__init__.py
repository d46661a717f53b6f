"""What fits into a model's context, and what gives way when something does not.

Pure, but for two callables that compaction is handed: one keeps a text in the workspace, one asks a
model for a summary. Everything costs time in what is new, not in what there is.
"""
