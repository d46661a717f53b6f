"""The A2A door: agents and workflows as peers of other agents."""
