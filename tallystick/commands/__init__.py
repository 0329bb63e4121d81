"""The commands, by who uses them: operator, partner, auditor."""
