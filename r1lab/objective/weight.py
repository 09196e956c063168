"""`objective.weight`: the per-token loss of a role and its trust region. Not its mask or denominator (`aggregate`).

Every function takes float32 vectors [N] and returns the loss [N], differentiable in `logp`; its weight w is minus
its derivative. `old` carries no gradient. R = exp(logp - old), the log-ratio clamped to +-20; p = exp(logp).
Beside logp, old and advantage a function gets what its Term `takes`: `ref`, `engine` (not finite on what was not
sampled), `entropy` of the current policy, `logq` = log softmax(z / kappa) of the target, `segments` (its sequence) and
`pairs`, sums over the rows that belong together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from r1lab.objective.segments import Segments
from r1lab.objective.term import Term

if TYPE_CHECKING:  # a recipe is checked without torch
    from torch import Tensor

Omega = Literal["rate", "root", "one"]
LOG_RATIO_BOUND = 20.0
CERTAIN = 1e-8
"""Added to 1 - p under a logarithm: a probability of 1 has none."""


def ratio(logp: Tensor, old: Tensor) -> Tensor:
    """R = exp(logp - old) [N], finite for every pair of finite log-probabilities."""
    return (logp - old).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp()


def one(*, logp: Tensor, old: Tensor, advantage: Tensor) -> Tensor:
    """-A logp: w = A. With A = 1 the negative log-likelihood of SFT; with A = r REINFORCE."""
    return -advantage * logp


def nll(*, logp: Tensor, old: Tensor, advantage: Tensor) -> Tensor:
    """-logp whatever the advantage: w = 1. Imitation of tokens in a rollout (UFT's hints)."""
    return -logp


def unclipped(*, logp: Tensor, old: Tensor, advantage: Tensor) -> Tensor:
    """-A R: w = A R, importance sampling without a trust region."""
    return -advantage * ratio(logp, old)


def ppo(
    *, logp: Tensor, old: Tensor, advantage: Tensor, clip_low: float = 0.2, clip_high: float = 0.2, dual: float = 0.0
) -> Tensor:
    """-min(R A, clip(R, 1 - clip_low, 1 + clip_high) A) (arXiv 1707.06347); `dual` c > 1 bounds it by c A for A < 0
    (arXiv 1912.09729)."""
    return _clipped(ratio(logp, old), advantage, clip_low, clip_high, dual)


def gspo(
    *, logp: Tensor, old: Tensor, advantage: Tensor, segments: Segments, clip_low: float = 3e-4, clip_high: float = 4e-4
) -> Tensor:
    """ppo on s = exp(mean over the sequence of logp - old): w = A s (arXiv 2507.18071)."""
    s = segments.mean(logp - old).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp()
    return _clipped(s, advantage, clip_low, clip_high, 0.0)


def cispo(*, logp: Tensor, old: Tensor, advantage: Tensor, clip_low: float = 1.0, clip_high: float = 4.0) -> Tensor:
    """-A sg clip(R, 1 - clip_low, 1 + clip_high) logp: a clipped token keeps its gradient (arXiv 2506.13585)."""
    return -advantage * ratio(logp, old).clamp(1 - clip_low, 1 + clip_high).detach() * logp


def sapo(
    *, logp: Tensor, old: Tensor, advantage: Tensor, tau_positive: float = 1.0, tau_negative: float = 1.05
) -> Tensor:
    """-A (4 / tau) sigma(tau (R - 1)), a soft gate: w = A R 4 sigma (1 - sigma); tau by the sign of A."""
    tau = advantage.new_full(advantage.shape, tau_negative).masked_fill(advantage > 0, tau_positive)
    return -advantage * (4 / tau) * (tau * (ratio(logp, old) - 1)).sigmoid()


def dppo_tv(*, logp: Tensor, old: Tensor, advantage: Tensor, delta: float = 0.15, cap: float = 20.0) -> Tensor:
    """-A sg min(R, cap) logp, 0 on tokens whose probability has moved by more than `delta` in the direction of A: the
    total variation of the token against all others (DPPO, arXiv 2602.04879)."""
    moved = (logp.exp() - old.exp()).detach()
    is_within = (moved * advantage.sign() <= delta).float()
    return -advantage * (ratio(logp, old).clamp(max=cap).detach() * is_within) * logp


def dppo_kl(*, logp: Tensor, old: Tensor, advantage: Tensor, delta: float = 0.05, cap: float = 20.0) -> Tensor:
    """`dppo_tv` by KL(old || policy) of the token against all others (arXiv 2602.04879)."""
    p, q = logp.exp().detach(), old.exp()
    divergence = q * (old - logp.detach()) + (1 - q) * ((1 - q + CERTAIN) / (1 - p + CERTAIN)).log()
    is_within = ((divergence <= delta) | ((p - q) * advantage.sign() <= 0)).float()
    return -advantage * (ratio(logp, old).clamp(max=cap).detach() * is_within) * logp


def gmpo(
    *, logp: Tensor, old: Tensor, advantage: Tensor, segments: Segments, log_low: float = 0.4, log_high: float = 0.4
) -> Tensor:
    """-A exp(mean over the sequence of the log-ratio), each token's bounded by log_high above where A > 0 and by
    -log_low below where not: the geometric mean of the ratios (arXiv 2507.20673)."""
    gap = (logp - old).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)
    bounded = gap.clamp(max=log_high).where(advantage > 0, gap.clamp(min=-log_low))
    return -advantage * segments.mean(bounded).exp()


def vespo(
    *,
    logp: Tensor,
    old: Tensor,
    advantage: Tensor,
    engine: Tensor,
    segments: Segments,
    k_positive: float = 2.0,
    lam_positive: float = 3.0,
    k_negative: float = 3.0,
    lam_negative: float = 2.0,
) -> Tensor:
    """-A sg phi(W) logp, phi(W) = W^k exp(lam (1 - W)), W the sequence's ratio to the sampler and phi(1) = 1: a soft
    bound on a whole sequence (VESPO, arXiv 2602.10693)."""
    log_w = segments.total((logp - sampler(engine, old)).detach()).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)
    is_positive = advantage >= 0
    power = (k_positive * log_w).where(is_positive, k_negative * log_w)
    decay = (lam_positive * (1 - log_w.exp())).where(is_positive, lam_negative * (1 - log_w.exp()))
    return -advantage * (power + decay).exp() * logp


def dro(*, logp: Tensor, old: Tensor, advantage: Tensor, engine: Tensor, beta: float = 0.1) -> Tensor:
    """-A logp + beta / 2 (logp - the sampler's)^2: w = A - beta log-ratio (DRO, arXiv 2405.19107; Kimi k1.5, arXiv
    2501.12599)."""
    return -advantage * logp + 0.5 * beta * (logp - sampler(engine, old)).square()


def sampler(engine: Tensor, old: Tensor) -> Tensor:
    """Log-probabilities of what sampled the tokens [N]: the engine's, `old` where it has none."""
    return engine.where(engine.isfinite(), old)


def entropy_advantage(
    *,
    logp: Tensor,
    old: Tensor,
    advantage: Tensor,
    entropy: Tensor,
    alpha: float = 0.4,
    kappa: float = 2.0,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
) -> Tensor:
    """ppo with A + min(alpha sg H, |A| / kappa): uncertain tokens are explored (arXiv 2506.14758)."""
    shaped = advantage + (alpha * entropy.detach()).minimum(advantage.abs() / kappa)
    return _clipped(ratio(logp, old), shaped, clip_low, clip_high, 0.0)


def nft(*, logp: Tensor, old: Tensor, advantage: Tensor, omega: Omega = "rate", negative: float = 1.0) -> Tensor:
    """Negative-aware fine-tuning (arXiv 2505.18116), with the advantage `nft`: A = 1[right] - q, q the solved rate.

    Right: w = o. Wrong: w = -o [q R / (1 - q)] / max((1 - q R) / (1 - q), 1), the floor straight-through. The weight
    o is 1 - q (`rate`), sqrt((1 - q) / q) (`root`) or 1.
    """
    q = (1 - advantage).where(advantage > 0, -advantage)
    o = {"rate": 1 - q, "root": ((1 - q) / q.clamp(min=1e-6)).sqrt(), "one": q.new_ones(q.shape)}[omega]
    proxy = (1 - q * (logp - old).clamp(-LOG_RATIO_BOUND, 10.0).exp()) / (1 - q).clamp(min=1e-6)
    floored = proxy.detach().clamp(min=1.0)
    log_floored = floored.log() + (proxy - proxy.detach()) / floored
    return (-o * logp).where(advantage > 0, -negative * o * log_floored)


def srft(*, logp: Tensor, old: Tensor, advantage: Tensor, entropy: Tensor, segments: Segments, on: float = 0.1):
    """-f logp with A = 1[right] - 1[wrong]: f = on exp(sg mean H) where A > 0, else A (arXiv 2506.19767)."""
    calm = segments.mean(entropy.detach()).exp()
    return -advantage * (on * calm).where(advantage > 0, 1.0) * logp


def srft_demo(
    *,
    logp: Tensor,
    old: Tensor,
    advantage: Tensor,
    entropy: Tensor,
    segments: Segments,
    demo: float = 0.5,
    gamma: float = 0.1,
) -> Tensor:
    """A demonstration's two terms: -demo exp(-sg mean H) logp, and `off_shape` with its advantage."""
    imitation = -demo * (-segments.mean(entropy.detach())).exp() * logp
    return imitation + off_shape(logp=logp, old=old, advantage=advantage, gamma=gamma)


def off_shape(*, logp: Tensor, old: Tensor, advantage: Tensor, gamma: float = 0.1) -> Tensor:
    """-A p / (p + gamma): w = A gamma p / (p + gamma)^2, which turns to unlikely tokens (LUFFY, arXiv 2504.14945)."""
    p = logp.exp()
    return -advantage * p / (p + gamma)


def prob(*, logp: Tensor, old: Tensor, advantage: Tensor) -> Tensor:
    """-A p: w = A p (DFT, arXiv 2508.05629, writes -sg(p) logp: the same gradient)."""
    return -advantage * logp.exp()


def phi(*, logp: Tensor, old: Tensor, advantage: Tensor) -> Tensor:
    """-A (p - p^2 / 2): w = A p (1 - p), largest where the policy is undecided (CHORD, arXiv 2508.11408)."""
    p = logp.exp()
    return -advantage * (p - 0.5 * p.square())


def iw(
    *,
    logp: Tensor,
    old: Tensor,
    advantage: Tensor,
    ref: Tensor,
    segments: Segments,
    temperature: float = 1.0,
    cap: float = 16.0,
) -> Tensor:
    """-A sg clip(exp(temperature mean(logp - ref)), 0, cap) logp, one factor a sequence (iw-SFT, arXiv 2507.12856)."""
    gap = segments.mean((logp - ref).detach())
    return -advantage * (temperature * gap).clamp(max=LOG_RATIO_BOUND).exp().clamp(max=cap) * logp


def gem(*, logp: Tensor, old: Tensor, advantage: Tensor, logq: Tensor, kappa: float = 0.7) -> Tensor:
    """-A kappa logq: dL/dz = A (softmax(z / kappa) - onehot) (GEM with h linear, arXiv 2408.16673)."""
    return -advantage * kappa * logq


def otr(
    *, logp: Tensor, old: Tensor, advantage: Tensor, logq: Tensor, kappa: float = 1.3, beta: float = -0.1
) -> Tensor:
    """One-token rollout in exact expectation (arXiv 2509.26313), q = softmax(z / kappa):

    dL/dz = A {[(1 - beta) q_y + beta] (p - onehot) - beta (q - onehot)}.
    """
    return -advantage * (((1 - beta) * logq.detach().exp() + beta) * logp - beta * kappa * logq)


def dpo(*, logp: Tensor, old: Tensor, advantage: Tensor, ref: Tensor, pairs: Segments, beta: float = 0.1) -> Tensor:
    """-log sigma(D), D = beta [sum of A (logp - ref)], A = 1 on the chosen and -1 on the rejected (arXiv 2305.18290).

    The pair's loss is spread evenly over its rows, so that their sum is the pair's: w = A beta sigma(-D).
    """
    from torch.nn.functional import logsigmoid

    return -logsigmoid(beta * pairs.total(advantage * (logp - ref))) / pairs.count(logp)


def ipo(*, logp: Tensor, old: Tensor, advantage: Tensor, ref: Tensor, pairs: Segments, beta: float = 0.1) -> Tensor:
    """(h - 1 / (2 beta))^2, h = sum of A (logp - ref): the lead is led to a finite length (arXiv 2310.12036, eq. 17,
    whose tau is beta), spread evenly over the pair's rows."""
    lead = pairs.total(advantage * (logp - ref))
    return (lead - 1 / (2 * beta)).square() / pairs.count(logp)


def simpo(
    *,
    logp: Tensor,
    old: Tensor,
    advantage: Tensor,
    segments: Segments,
    pairs: Segments,
    beta: float = 2.0,
    gamma: float = 1.0,
) -> Tensor:
    """-log sigma(beta [mean logp of the chosen - mean logp of the rejected] - gamma), without a reference (arXiv
    2405.14734, eq. 6), spread evenly over the pair's rows."""
    from torch.nn.functional import logsigmoid

    lead = pairs.total(advantage * logp / segments.count(logp.detach()))
    return -logsigmoid(beta * lead - gamma) / pairs.count(logp)


def _clipped(r: Tensor, advantage: Tensor, low: float, high: float, dual: float) -> Tensor:
    loss = (-r * advantage).maximum(-r.clamp(1 - low, 1 + high) * advantage)
    return loss.minimum(-dual * advantage).where(advantage < 0, loss) if dual > 1 else loss


WEIGHTS = {
    "one": Term(one),
    "nll": Term(nll, unweighted=True),
    "unclipped": Term(unclipped, ratio=True),
    "ppo": Term(ppo, ratio=True),
    "gspo": Term(gspo, ratio=True, scope="sequence", takes=("segments",)),
    "cispo": Term(cispo, ratio=True),
    "sapo": Term(sapo, ratio=True),
    "dppo_tv": Term(dppo_tv, ratio=True),
    "dppo_kl": Term(dppo_kl, ratio=True),
    "gmpo": Term(gmpo, ratio=True, scope="sequence", takes=("segments",)),
    "vespo": Term(vespo, ratio=True, scope="sequence", takes=("engine", "segments")),
    "dro": Term(dro, ratio=True, unweighted=True, takes=("engine",)),
    "entropy_advantage": Term(entropy_advantage, ratio=True, takes=("entropy",)),
    "nft": Term(nft, ratio=True),
    "srft": Term(srft, scope="sequence", takes=("entropy", "segments")),
    "srft_demo": Term(srft_demo, scope="sequence", takes=("entropy", "segments"), unweighted=True),
    "off_shape": Term(off_shape),
    "prob": Term(prob),
    "phi": Term(phi),
    "iw": Term(iw, needs=frozenset({"ref"}), scope="sequence", takes=("ref", "segments")),
    "gem": Term(gem, takes=("logq",)),
    "otr": Term(otr, takes=("logq",)),
    "dpo": Term(dpo, needs=frozenset({"ref"}), scope="pair", takes=("ref", "pairs")),
    "ipo": Term(ipo, needs=frozenset({"ref"}), scope="pair", takes=("ref", "pairs")),
    "simpo": Term(simpo, scope="pair", takes=("segments", "pairs")),
}
