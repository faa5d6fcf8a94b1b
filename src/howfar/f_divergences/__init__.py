"""f-divergences: how far the ratio of two densities is from one.

Each is a row of `GENERATORS`; the values come from three rooms: tables of probabilities or logits, closed
forms of `torch.distributions`, and sampling.
"""

from howfar.f_divergences.binning import Histogram as Histogram
from howfar.f_divergences.binning import histogram as histogram
from howfar.f_divergences.generators import GENERATORS as GENERATORS
from howfar.f_divergences.generators import Generator as Generator
from howfar.f_divergences.generators import alpha as alpha
from howfar.f_divergences.generators import weighted_js as weighted_js
from howfar.f_divergences.named import alpha_divergence as alpha_divergence
from howfar.f_divergences.named import chi2 as chi2
from howfar.f_divergences.named import f_divergence as f_divergence
from howfar.f_divergences.named import hellinger as hellinger
from howfar.f_divergences.named import jeffreys as jeffreys
from howfar.f_divergences.named import js as js
from howfar.f_divergences.named import kl as kl
from howfar.f_divergences.named import neyman_chi2 as neyman_chi2
from howfar.f_divergences.named import renyi as renyi
from howfar.f_divergences.named import reverse_kl as reverse_kl
from howfar.f_divergences.named import triangular as triangular
from howfar.f_divergences.named import tv as tv
