"""Built-in workflows about models: fetching one, and finding out what it is fit for."""
