"""Step 8 of 9: what may be asked about events, and which events answer it. EPCIS 2.0, section 8.2.

    parameters   a query as a URL or a JSON body spells it -> model.Query, or every fault in it
    matches      whether one event answers a query: the specification, slow and obvious
    terms        what an index must know of an event so that no answer is missed
    tokens       where the next page begins, in the hands of the caller and still to be trusted
    masterdata   places with their children and attributes, from document headers

Pure; what keeps and searches is the room `projection`.
"""
