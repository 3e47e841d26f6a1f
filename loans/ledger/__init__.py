"""Write loans, reservations, transfers and history: the only package that does.

Where a function takes `now`, None stands for the database's clock. Only tests and the demo pass an instant.
"""
