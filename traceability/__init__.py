"""Steps 4 and 8 of 9: what an event says. Identifiers, events, the names in them, and their history."""
