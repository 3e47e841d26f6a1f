"""Import government files. Each step may refuse them:

- `sources.py`: the file cannot be fetched, is too large, or is packed too often; `tables.py`: it is of a kind that is not read.
- `header.py`: a column is missing or doubled; `findings.py`: there are too many bad rows.
- `crosswalk.py`: it is another crosswalk than ZIP to CBSA; `census.py`: the estimates are not what they should be.
- `changes.py`: too many ZIPs in use would be lost or move; `service.py`: the label holds other files, or another import runs.
"""
