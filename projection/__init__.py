"""Step 8 of 9: events kept so that queries find them. Follows the log; disposable, rebuilt to the same."""
