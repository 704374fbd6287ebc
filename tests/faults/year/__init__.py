"""A simulated year: five clusters that die, stand still and disagree on the time fire the
schedules of a site, and an oracle that knows nothing of their code says which slots there
were. `python -m tests.faults.year --seed 1`.
"""
