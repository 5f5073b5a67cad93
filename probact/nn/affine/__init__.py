"""Max-affine spline operators: a layer as maxima of affine functions of its input."""
