"""Which sessions run where: what is taken and may be taken, the dispatcher around the pure `scheduler`, and why sessions wait.

`dispatch` is where to begin.
"""
