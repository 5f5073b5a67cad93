"""Linear regions: the local affine map, the polytope of a pattern, and what lies beyond it."""

from probact.analysis.regions.hit_and_run import hit_and_run
from probact.analysis.regions.linear_programs import (
    ChebyshevBall,
    analytic_centre,
    chebyshev_ball,
    essential_faces,
    interior_point,
    program_seconds,
    width,
)
from probact.analysis.regions.local_affine import LocalAffine, local_affine, local_affine_maps
from probact.analysis.regions.plane_slices import PlaneSlice, slice_regions
from probact.analysis.regions.polytope import (
    NoiseRadius,
    Polytope,
    noise_radius,
    region,
    region_of_pattern,
)
from probact.analysis.regions.reachability import Witness, reach
from probact.analysis.regions.region_counts import (
    RegionCount,
    arrangement_regions,
    count_regions,
    region_upper_bound,
)
from probact.analysis.regions.spectrum import (
    MapSpectrum,
    Pursuit,
    map_angles,
    map_spectrum,
    matching_pursuit,
)
from probact.analysis.regions.traversal import Traversal, traverse

__all__ = [
    "ChebyshevBall",
    "LocalAffine",
    "MapSpectrum",
    "NoiseRadius",
    "PlaneSlice",
    "Polytope",
    "Pursuit",
    "RegionCount",
    "Traversal",
    "Witness",
    "analytic_centre",
    "arrangement_regions",
    "chebyshev_ball",
    "count_regions",
    "essential_faces",
    "hit_and_run",
    "interior_point",
    "local_affine",
    "local_affine_maps",
    "map_angles",
    "map_spectrum",
    "matching_pursuit",
    "noise_radius",
    "program_seconds",
    "reach",
    "region",
    "region_of_pattern",
    "region_upper_bound",
    "slice_regions",
    "traverse",
    "width",
]
