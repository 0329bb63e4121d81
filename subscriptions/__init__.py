"""Step 8 of 9, sent out: what a kept query finds from now on, pushed to whoever subscribed.

    controls   what a subscriber asks for: a stream or a schedule, from when, where to
    targets    where may be sent to, judged by the address that is really connected to
    store      subscriptions, and how far each one has come
    follow     the next events for one of them
    webhook    one POST, within bounds
    runner     all of them, one delivery at a time each

WebSockets use controls and follow; the door sends for itself.
"""
