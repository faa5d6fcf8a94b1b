"""Whether two samples differ, with a p-value that is exact: permutation tests for any statistic."""

from howfar.two_sample.labels import permutations as permutations
from howfar.two_sample.multiplicity import MinP as MinP
from howfar.two_sample.multiplicity import adjust_min_p as adjust_min_p
from howfar.two_sample.permutation_test import TwoSampleTest as TwoSampleTest
from howfar.two_sample.permutation_test import two_sample_test as two_sample_test
from howfar.two_sample.statistics import energy_null as energy_null
from howfar.two_sample.statistics import energy_null_1d as energy_null_1d
from howfar.two_sample.statistics import mmd2_null as mmd2_null
from howfar.two_sample.statistics import mmd_fuse_null as mmd_fuse_null
