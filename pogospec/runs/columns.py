"""The columns of metrics.csv, returns.csv, flow.csv and ope.csv in a run directory, and what each of them means."""

from __future__ import annotations

LAST = " (last)"
"""Behind the label of a policy: its last weights, where those under the label itself are averaged."""
METRICS = {
    "seed": "seed of the row",
    "stage": "label of the Euler step: step 1, step 2, …, or warm-up",
    "update": "updates done in this stage",
    "total_update": "updates done in the run",
    "seconds": "wall time of the chunk, all seeds",
    "updates_per_second": "rate of the chunk, all seeds advancing together",
    "critic_loss": "sum over critics of the mean squared Bellman error; of other critics with their further terms",
    "critic_loss_std": "standard deviation of critic_loss over the updates of the chunk",
    "q": "mean action value of the logged actions",
    "v": "mean state value, of an expectile critic",
    "likeness": "of an ensemble with diversity: mean sum of <g_i, g_j> over N - 1, g_i: gradients of Q_i of length 1",
    "conservative_gap": "of a conservative critic: how far its soft maximum is above the values of logged actions",
    "multiplier": "of a conservative critic: the learned factor of its term",
    "behavior_loss": "negative log-likelihood in nats (gaussian) or squared error (dirac)",
    "objective": "what an update minimises: energy plus proximal terms, or the loss of an explicit step",
    "energy": "energy of the policy, minimised",
    "energy.*": "each weighted term of the energy",
    "temperature": "entropy weight of the energy after the update, where it is learned",
    "distance": "divergence D from the policy to its reference",
    "effective_samples": "of an explicit step that weighs: 1 / sum w^2 in a state, from data of the minibatch",
    "clipped": "share of the weight that clip takes away, from data share of the logged actions at clip",
    "dual_loss": "loss of the dual critic of wasserstein1: minus its gap, plus its gradient penalty",
}
"""metrics.csv: a row a chunk of updates and seed."""
RETURNS = {
    "policy": "behavior, step 1, step 2, …; with averaged weights these are under the label, the last ones are under "
    "step 1 (last), …",
    "stage": "label of the Euler step that was training",
    "total_update": "updates done in the run",
    "seed": "seed of the policy",
    "episode": "episode of the evaluation; the same episodes for every policy and seed",
    "return": "undiscounted return, raw",
}
"""returns.csv: a row an evaluation episode."""
FLOW = {
    "seed": "seed of the row",
    "stage": "label of the Euler step",
    "update": "updates done in this stage",
    "total_update": "updates done in the run",
    "flow_time": "sum of the step sizes of the Euler steps that are over",
    "accepted": "1 or 0 at the end of a step that is judged, or whose size is chosen by trial; empty elsewhere",
    "tau": "step size of the first proximal term; of step doubling that of each of the two steps that are kept",
    "local_error": "of step doubling: sqrt(2 mean D) between the ends of two steps of tau and of one of 2 tau",
    "scale": "what Q is divided by in energy, one number for all states and all steps on one Q; empty where unscaled",
    "energy": "mean energy over held-out states, at that scale",
    "reference_energy": "the same of the step's reference",
    "objective": "energy plus proximal terms; of an explicit step from data its weighted negative log-likelihood",
    "distance": "mean divergence D to the reference",
    "start_distance": "mean divergence D to the behaviour, or to where the flow on a target starts",
    "entropy": "mean entropy in nats",
    "effective_tau": "2 distance / (reference_energy - energy): tau to first order where the step is solved",
    "gap": "objective - reference_energy, not positive where the proximal inequality holds",
    "gap_error": "standard error of gap over held-out episodes; empty where there is one",
    "gain": "of a judged step: how much better its judge finds the policy than the one that the step began with",
    "gain_error": "standard error of gain over held-out episodes",
    "bound": "gain less as many of these as the judge asks for, plus its margin: the step is taken where positive",
    "violated": "1 where gap is above 0 by more than 1.645 gap_error: the proximal inequality fails; 0 elsewhere",
    "effective_samples": "of an explicit step that weighs: 1 / sum w^2, mean over states, from data of all rows; few: "
    "the step is biased",
    "clipped": "share of the weight that clip takes away, from data share of the logged actions at clip",
    "q_drift": "root mean square change of Q of held-out rows since the last check of a rule, over its std",
    "critic_noise": "standard deviation of critic_loss over these updates, over the variance of Q over the rows",
    "kl_optimum": "KL(policy || optimum) in nats, for known energies; optimum: exp(Q/lambda)/Z, action_norm in Q",
    "w2_optimum": "2-Wasserstein distance to that optimum, for known energies where it is exact",
}
"""flow.csv: a row a policy that was measured on held-out states and seed."""
OPE = {
    "policy": "behavior, step 1, step 2, …",
    "seed": "seed of the policy",
    "estimator": "fqe: fitted Q evaluation, corrected in held-out episodes; wis: weighted importance sampling per "
    "decision; dr: doubly robust, of both",
    "value": "estimate of E[sum_t discount^t r_t] from the first observations of the episodes on; no return, no score",
    "error": "of fqe: standard error over episodes, critics closed again in each resample, and how far a looser "
    "ridge moves the value; of wis and dr: standard error over episodes, critics as they are",
    "low": "lower end of its interval",
    "high": "upper end of its interval",
    "level": "what the interval shall hold",
    "plain": "of fqe: what the critics alone say of first observations of episodes that they have not seen",
    "gain": "value less that of the fitted behaviour of the same seed, in the same episodes; empty without one",
    "gain_error": "its standard error, in the same resamples",
    "effective": "of wis and dr: episodes that the weights leave, (sum w)^2 / sum w^2, mean over t by discount^t",
    "episodes": "episodes of the data",
    "discount": "discount factor per environment step",
    "rewards": "what is summed, in units of the logged rewards r: those of the run over the size of their scale",
    "action": "mean or sample: how the policy acts",
    "samples": "actions of the policy in each place",
    "updates": "minibatch updates of a critic",
    "hidden": "widths of its hidden layers",
    "folds": "groups of episodes, each of which is read by critics of the others",
    "fits": "critics of each group that are averaged",
    "draws": "seed of critics and samples",
}
"""ope.csv: a row an estimate, policy and seed; of several alike but for their numbers the last one stands."""
ESTIMATED = ("value", "error", "low", "high", "plain", "gain", "gain_error", "effective")
"""Columns of ope.csv that are found; the others say what was asked."""
HEAD = [name for name in METRICS if name != "energy.*"]
"""Columns of metrics.csv that every run has; one for each term of its energy follows."""
