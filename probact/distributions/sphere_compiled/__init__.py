"""Compiled loops over rows of von Mises-Fisher laws, one (mu, kappa) for each row."""
