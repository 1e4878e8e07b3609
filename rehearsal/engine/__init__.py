"""The real Pulumi engine over stand-in providers: what plugs into it from outside, and a driver of its command line.

The program and the command line are the user's own. The engine looks its plugins up on PATH; those found there are a few
lines each, which ask this process for a port and pass it on. Everything they serve is the rehearsal's one table.
"""
