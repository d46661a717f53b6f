"""Programs that tests need and that are not Python packages, fetched without being root."""
