"""Step 5 of 9: intake. A party's signed bytes become entries, or exact faults and no trace.

`prepare` does what needs no lock: parse, signature, event, names. `sequencer` does what needs order:
duplicates, key state at this position, append. `service` is what the door calls.
"""
