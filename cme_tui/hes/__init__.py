"""The client side: a head-end system against the running gateway, with a DLMS client that others wrote.

`client` is that client (gurux-dlms) and runs in a process of its own; `head_end` talks to it over a pipe; `rehearsal`
is what it tries; `access` says where the gateway is and what a client must know; `values` makes texts of what it reads.
"""
