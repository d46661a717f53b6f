"""Push notifications: each change of a task is posted to the addresses that it was given."""
