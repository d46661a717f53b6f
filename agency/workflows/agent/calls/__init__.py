"""Tool calls that survive weak models: read, checked, corrected, and never invented.

Pure: nothing here asks a model, touches a file or looks at a clock. The loop asks `ladder.Ladder`
how the next inference is to be made, hands it what came back, records its judgement, and acts.
"""
