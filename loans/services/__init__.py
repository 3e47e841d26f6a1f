"""Decide and write what investors, staff, the bank and the jobs ask for. The API, the admin and the jobs call the same functions.

Where a function takes `now`, None stands for the database's clock. Only tests and the demo pass an instant.
"""
