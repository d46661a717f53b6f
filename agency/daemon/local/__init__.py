"""What the command line does by itself when no daemon runs; never beside a live one."""
