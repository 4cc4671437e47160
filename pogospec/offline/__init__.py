"""Off-policy evaluation: what a policy is worth, from logged episodes alone; arrays in, arrays out, no files.

settings    how critics are fitted, and what is asked of them
episodes    which rows are whose, where episodes begin, and which critics may see them
critic      fitted Q evaluation by minibatches and a slow copy
closing     the last layer solved to its fixed point, and the weights by which held-out rows correct it
fqe         both over policies, seeds and folds: a value a held-out episode
importance  weighted importance sampling and doubly robust estimates, where densities are known
interval    standard errors and bootstrap intervals over episodes
actions     what saved policies would do, and their densities

What is estimated is E[sum_t discount^t r_t] from the first observations of logged episodes on, the policy acting as
asked; ends at time limits are no ends. It is no undiscounted return, and nothing makes one of it.
"""

from pogospec.offline.episodes import Episodes, episodes_of
from pogospec.offline.fqe import Candidate, Reading, fitted
from pogospec.offline.settings import Settings

__all__ = ["Candidate", "Episodes", "Reading", "Settings", "episodes_of", "fitted"]
