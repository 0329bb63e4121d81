"""Step 7 of 9: anchoring. Outside witnesses say: this much of the ledger existed at that time.

A round takes the newest published checkpoint, puts it into a batch, has the batch's root time-stamped
(RFC 3161) and appends the evidence to the ledger as an anchor entry. Anchoring never stands in the way
of a write, and no round is ever lost.
"""
