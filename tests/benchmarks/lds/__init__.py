"""The fidelity benchmark: predicted effects of training examples against real retraining (Park et al. 2023).

settings, data, training, run, truth    what is trained, and what really happens without examples
queries, correlation                    what is asked, and how an answer is marked
ours, source, refined, studies          our methods
exchange, peers                         other libraries, each in a process and an environment of its own
compare, document                       all of them side by side, and the tables of docs/benchmarks.md
"""
