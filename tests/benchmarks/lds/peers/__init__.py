"""Other libraries. Each file is one adapter, imported only in the peers' own environment:

``scores(problem, **options)`` does all that the method needs from nothing and gives (N, Q) scores in our sign,
positive where training on the example pushed the measurement up.
"""
