"""Step 4 of 9: is this a GS1 EPCIS 2.0 event, and if not, where exactly not? validate.py answers."""
