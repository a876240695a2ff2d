"""The panel's part about models: which one runs, and the user's own."""
